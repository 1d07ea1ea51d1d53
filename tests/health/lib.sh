# MachineHealthChecks replace machines with unhealthy nodes while `capn serve` runs. The caller sets
# `cluster`, and defines kubectl_of. Sourced by tests/kubernetes.sh.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

# The health checks created by `capn up`, with short timeouts.
health_checks() {
  local name selector
  while read -r name selector; do
    cat <<YAML
---
apiVersion: cluster.x-k8s.io/v1beta2
kind: MachineHealthCheck
metadata: {name: $cluster-$name, namespace: default, labels: {cluster.x-k8s.io/cluster-name: $cluster}}
spec:
  clusterName: $cluster
  selector: {matchLabels: {$selector}}
  checks:
    unhealthyNodeConditions:
      - {type: Ready, status: Unknown, timeoutSeconds: 5}
      - {type: Ready, status: "False", timeoutSeconds: 60}
YAML
  done <<<"md-0 cluster.x-k8s.io/deployment-name: $cluster-md-0
control-plane cluster.x-k8s.io/control-plane: ''" >"$scratch/health.yaml"
  "$binaries/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig" get machinehealthcheck "$cluster-md-0" "$cluster-control-plane" &&
    capn apply -f "$scratch/health.yaml"
}
# health_serve COMMAND... : runs the command while the plane is served.
health_serve() {
  local status=0 pid
  rm -f "$scratch/state/plane.kubeconfig"
  "$capn_bin" --state-dir "$scratch/state" serve --listen 127.0.0.1:0 >"$scratch/serve.log" 2>&1 &
  pid=$!
  { until_true 'the plane is served' 20 test -s "$scratch/state/plane.kubeconfig" && "$@"; } || status=1
  kill "$pid"
  wait "$pid" || true
  return $status
}
# health_nodes SELECTOR : names of Ready nodes.
health_nodes() { kubectl_of get nodes -l "$1" --no-headers | awk '$2 == "Ready" {print $1}' | sort; }
# As many Ready nodes as before; NODE is neither a node nor an instance any more.
health_is_replaced() {
  local nodes
  nodes=$(health_nodes "$1")
  [ "$(wc -l <<<"$nodes")" = "$3" ] && ! has -x "$2" <<<"$nodes" && ! instances_of "$cluster" | has -x "$2"
}
# health_replaced SELECTOR COMMAND... : the command makes the node in its last argument fail.
health_replaced() {
  local selector=$1 count node
  shift
  count=$(health_nodes "$selector" | wc -l)
  node=$(health_nodes "$selector" | head -n 1)
  [ -n "$node" ] || return 1
  "$@" "$node" || return 1
  until_true "another node in place of $node" 300 health_is_replaced "$selector" "$node" "$count" ||
    { capn describe cluster "$cluster"; tail -n 5 "$scratch/serve.log"; return 1; }
}
health_delete() { incus delete --force "$1"; }
health_stop_kubelet() { incus exec "$1" -- systemctl stop kubelet; }
health_worker() {
  health_checks && health_replaced '!node-role.kubernetes.io/control-plane' health_delete
}
# etcd keeps its three members.
health_control_plane() {
  health_replaced node-role.kubernetes.io/control-plane health_stop_kubelet &&
    until_true "three members of etcd" 120 has_control_planes 3
}
