# The application with kube-proxy in nftables mode, on a cluster of isolated nodes. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

kubernetes_tests_for 'applications in nftables mode' || return 0
# shellcheck source=tests/applications/lib.sh
. tests/applications/lib.sh
# shellcheck source=tests/conformance/lib.sh
. tests/conformance/lib.sh

cluster=capn-t-nft
nft_up() {
  app_leftovers || return 1
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --kube-proxy-mode nftables --isolation isolated --max-pods 60 $(cgroup_flag) --wait 10m
}
check 'create a cluster with isolated nodes and kube-proxy in nftables mode' nft_up || return 0
check 'build the test images from local programs' conformance_images || return 0
check 'load them into the nodes' app_images
nft_rules() {
  local node
  for node in $(app_nodes); do
    incus exec "$node" -- nft list table ip kube-proxy </dev/null | has web || { echo "$node has no such rules"; return 1; }
  done
}
# All rules go to the kernel in one message, whose size limit the node cannot raise. Their endpoint is constant: rules for
# endpoints of `web` would be written 300 times.
nft_many() {
  local number
  for number in $(seq 300); do
    printf -- '---\napiVersion: v1\nkind: Service\nmetadata: {name: many-%s, labels: {many: "1"}}\nspec: {selector: {app: one}, ports: [{port: 80, targetPort: 8080}]}\n' "$number"
  done | app_kubectl apply -f - >/dev/null && app_with 2 && app_with 3 || return 1
  # kube-controller-manager writes twenty endpoints per second.
  app_within 180 'the last of them answers' nft_last
}
nft_last() { app_answers "$(app_clients | head -n 1)" "http://$(app_ip many-300)" 10 | has one; }
try_application
check 'with 300 more Services, endpoint changes still take effect' nft_many
check 'the rules are in nftables' nft_rules
check 'after a node restart without capn, every Service and DNS name responds again' app_restarted true
check 'delete the cluster' capn delete cluster "$cluster"
