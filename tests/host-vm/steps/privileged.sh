# A cluster of privileged nodes. Sourced by inside.
# shellcheck shell=bash disable=SC2154,SC2329 # of inside; called by check

cluster=capn-t-privileged
# shellcheck disable=SC2046 # flags
privileged_up() { capn up "$cluster" --isolation privileged $(wait_flags 10); }
check 'create a cluster with one control plane and one worker, with privileged nodes' privileged_up
ready() { app_ready && [ "$(app_nodes | wc -l)" = 2 ]; }
check 'two nodes are Ready' ready
privileged() {
  local node
  for node in $(app_nodes); do incus exec "$node" -- grep -qE '^ *0 +0 ' /proc/self/uid_map || return 1; done
}
check 'root in them is root on the host' privileged
check 'delete the cluster' capn delete cluster "$cluster"
