# A cluster whose pods reach each other through flannel's vxlan. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'a cluster with flannel' "$kubernetes_missing"
  return 0
fi
if [ ! -x "$kubernetes/flanneld" ] || [ ! -x "$kubernetes/coredns" ]; then
  skip 'a cluster with flannel' "$kubernetes has no flanneld or no coredns"
  return 0
fi
# shellcheck source=tests/network/lib.sh
. tests/network/lib.sh

cluster=capn-t-flannel
flannel_up() {
  net_leftovers || return 1
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --cni flannel --workers 1 $(cgroup_flag) --wait 10m
}
flannel_mtu_of() { local interface=$1; shift; "$@" cat "/sys/class/net/$interface/mtu" </dev/null; }
# The MTU of the pods' NICs and the tunnel leaves room for the vxlan header.
flannel_mtu() {
  local node address network card tunnel pod
  while read -r node address; do
    network=$(net_namespace "$node" "$address")
    card=$(flannel_mtu_of eth0 incus exec "$node" --)
    tunnel=$(flannel_mtu_of flannel.1 incus exec "$node" --)
    pod=$(flannel_mtu_of eth0 incus exec "$node" -- ip netns exec "$network")
    [ "$tunnel $pod" = "$((card - 50)) $((card - 50))" ] ||
      { echo "$node: eth0 has $card, flannel.1 $tunnel, eth0 of the pod $pod"; return 1; }
  done < <(net_pods)
}
# Traffic between pods uses vxlan, and no route of capn bypasses it.
flannel_carries() {
  local node route
  for node in $(net_nodes); do
    route=$(incus exec "$node" -- ip route show root 10.244.0.0/16 </dev/null | grep -v ' dev cni0 ')
    [ "$(awk '{ print $4, $5 }' <<<"$route")" = 'dev flannel.1' ] ||
      { echo "$node has these routes to pods: $route"; return 1; }
  done
}
flannel_works() { net_ready && net_across 2 && net_everywhere 2 && flannel_carries && flannel_mtu; }
flannel_restarts() {
  local worker
  worker=$(net_nodes | grep -v control-plane)
  incus restart "$worker" && net_within 120 'pods and the Service answer again' flannel_works
}
flannel_deleted() { capn delete cluster "$cluster" && [ -z "$(instances_of "$cluster")" ]; }

check 'create a cluster with one control plane and one worker' flannel_up || return 0
check 'both nodes are Ready' net_ready
check 'a pod runs on each node, behind a Service' net_deploy SingleStack
check 'a pod reaches the pod on the other node' net_within 30 'the pods answer' net_across 2
check 'routes to pods on the other node use vxlan' flannel_carries
check 'the MTU of pods is 50 bytes below that of the node' flannel_mtu
check 'the Service responds to both nodes and their pods' net_within 30 'the Service answers' net_everywhere 2
check 'all of this again after a restart of the worker without capn' flannel_restarts
check 'delete the cluster; nothing is left' flannel_deleted
