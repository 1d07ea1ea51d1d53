# A cluster of both families of addresses, on a bridge of its own that gives both. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'a cluster of both families of addresses' "$kubernetes_missing"
  return 0
fi
if [ ! -x "$kubernetes/coredns" ]; then
  skip 'a cluster of both families of addresses' "$kubernetes has no coredns"
  return 0
fi
if [ "$(cat /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null)" != 0 ]; then
  skip 'a cluster of both families of addresses' 'this host has no IPv6'
  return 0
fi
# shellcheck source=tests/network/lib.sh
. tests/network/lib.sh

cluster=capn-t-dual
# The bridge, and a profile of the same name by which instances are on it.
dual_network=capn-t-dual
dual_remove() {
  if incus profile show "$dual_network" >/dev/null 2>&1; then incus profile delete "$dual_network" || return 1; fi
  if incus network show "$dual_network" >/dev/null 2>&1; then incus network delete "$dual_network" || return 1; fi
}
# What a run that was killed left goes first.
dual_bridge() {
  net_leftovers && dual_remove || return 1
  incus network create "$dual_network" ipv4.address=10.214.7.1/24 ipv4.nat=true \
    ipv6.address=fd42:214:7::1/64 ipv6.nat=true || return 1
  incus profile copy default "$dual_network" && incus profile device set "$dual_network" eth0 network="$dual_network"
}
dual_up() {
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --workers 1 --profile "$dual_network" --load-balancer-profile "$dual_network" \
    --pod-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/16,fd00:10:96::/112 $(cgroup_flag) --wait 10m
}
# families COMMAND... : what it prints, a line for each thing with addresses, has one of each family in each.
dual_families() {
  local line address v4 v6 lines=0
  while read -r line; do
    v4='' v6=''
    for address in $line; do if net_is_v6 "$address"; then v6=1; else v4=1; fi; done
    [ "$v4$v6" = 11 ] || { echo "not of both families: $line"; return 1; }
    lines=$((lines + 1))
  done < <("$@")
  [ "$lines" = 2 ] || { echo "$lines lines of $*"; return 1; }
}
dual_nodes() { net_kubectl get nodes -o jsonpath='{range .items[*]}{range .status.addresses[?(@.type=="InternalIP")]}{.address} {end}{"\n"}{end}'; }
dual_pods() { net_kubectl get pods -l app=probe -o jsonpath='{range .items[*]}{range .status.podIPs[*]}{.ip} {end}{"\n"}{end}'; }
dual_service() {
  [ "$(net_service | wc -l)" = 2 ] && net_is_v6 "$(net_service | tail -n 1)" && net_everywhere 4
}
# The first range of Services is of IPv4, and so is the endpoint.
dual_endpoint() { net_kubectl config view -o jsonpath='{.clusters[0].cluster.server}' | has '^https://10\.214\.7\.'; }
dual_works() { net_ready && net_across 4 && dual_service; }
dual_restarts() {
  local worker
  worker=$(net_nodes | grep -v control-plane)
  incus restart "$worker" && net_within 120 'pods and the Service answer again' dual_works
}
dual_deleted() { capn delete cluster "$cluster" && [ -z "$(instances_of "$cluster")" ]; }

check 'a bridge of both families is made' dual_bridge || return 0
if check 'a cluster of one control plane and one worker is up on it' dual_up; then
  check 'the endpoint is of the family that Services have first' dual_endpoint
  check 'both nodes have an address of each family' dual_families dual_nodes
  check 'a pod runs on each, behind a Service of both families' net_deploy RequireDualStack
  check 'pods have an address of each family' dual_families dual_pods
  check 'a pod reaches the pod on the other node, over IPv4 and over IPv6' net_within 30 'the pods answer' net_across 4
  check 'the Service is reached at both its addresses, from both nodes and their pods' net_within 30 'the Service answers' dual_service
  check 'all of it again after the worker has restarted, with no capn running' dual_restarts
fi
check 'the cluster is deleted, and nothing is left' dual_deleted
check 'the bridge is removed' dual_remove
