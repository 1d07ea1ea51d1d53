# A dual-stack cluster on a dedicated dual-stack network. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'a dual-stack cluster' "$kubernetes_missing"
  return 0
fi
if [ ! -x "$kubernetes/coredns" ]; then
  skip 'a dual-stack cluster' "$kubernetes has no coredns"
  return 0
fi
if [ "$(cat /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null)" != 0 ]; then
  skip 'a dual-stack cluster' 'this host has no IPv6'
  return 0
fi
# shellcheck source=tests/network/lib.sh
. tests/network/lib.sh

cluster=capn-t-dual
# The dedicated network is dual-stack because the cluster's ranges are.
dual_network() { incus network list -f csv | sed -n "s/^\([^,]*\),.*cluster default\/$cluster,.*/\1/p"; }
dual_gives() { [ "$(incus network get "$(dual_network)" ipv4.nat)" = true ] && net_is_v6 "$(incus network get "$(dual_network)" ipv6.address)"; }
dual_up() {
  net_leftovers || return 1
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --workers 1 \
    --pod-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/16,fd00:10:96::/112 $(cgroup_flag) --wait 10m
}
# families COMMAND... : each line of its output has one address per address family.
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
# The first Service range is IPv4, and so is the endpoint.
dual_endpoint() { net_kubectl config view -o jsonpath='{.clusters[0].cluster.server}' | has '^https://[0-9.]*:'; }
dual_works() { net_ready && net_across 4 && dual_service; }
dual_restarts() {
  local worker
  worker=$(net_nodes | grep -v control-plane)
  incus restart "$worker" && net_within 120 'pods and the Service answer again' dual_works
}
# dual_is_router : whether the host accepts a worker that advertises itself as a router.
dual_is_router() {
  local worker network
  worker=$(net_nodes | grep -v control-plane) network=$(dual_network)
  incus file push -q tests/neighbours/router.py "$worker/root/router.py" || return 1
  incus exec "$worker" -- python3 /root/router.py eth0 20 </dev/null || return 1
  ip -6 route show default dev "$network" | has 'proto ra'
}
dual_no_router() { if dual_is_router; then ip -6 route show default; return 1; fi; }
# Control: without the network rule, the host accepts the advertisement.
dual_router_control() {
  local network found
  network=$(dual_network)
  incus network set "$network" security.acls= || return 1
  dual_is_router
  found=$?
  ip -6 route flush proto ra dev "$network"
  incus network set "$network" security.acls="$network" && [ $found = 0 ]
}
dual_deleted() { capn delete cluster "$cluster" && [ -z "$(instances_of "$cluster")$(dual_network)$(incus network acl list -f csv | grep "default/$cluster")" ]; }

if check 'create a cluster with one control plane and one worker' dual_up; then
  check 'its network provides both address families' dual_gives
  check 'the endpoint is in the first address family of Services' dual_endpoint
  check 'both nodes have an address of each family' dual_families dual_nodes
  check 'a pod runs on each node, behind a dual-stack Service' net_deploy RequireDualStack
  check 'pods have an address of each family' dual_families dual_pods
  check 'a pod reaches the pod on the other node, over IPv4 and over IPv6' net_within 30 'the pods answer' net_across 4
  check 'the Service responds at both addresses, from both nodes and their pods' net_within 30 'the Service answers' dual_service
  check 'root in a node cannot become a router of the host' dual_no_router
  check 'without the network rule, it would be a router' dual_router_control
  check 'all of this again after a restart of the worker without capn' dual_restarts
fi
check 'delete the cluster; nothing is left' dual_deleted
