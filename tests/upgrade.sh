# Upgrades a cluster from the older to the newer release with `capn upgrade`, with `capn serve` and without a registry, on a
# cluster as created by an older kubeadm: without a ClusterRoleBinding for its API servers. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'an upgrade of Kubernetes' "$kubernetes_missing"
  return 0
fi
if ! kubernetes_older=$(wait_for_build v1.36); then
  skip 'an upgrade of Kubernetes' "v1.36: $kubernetes_older"
  return 0
fi

cluster=capn-t-upgrade
binding=kubeadm:apiserver-kubelet-client
from=$("$kubernetes_older/kubeadm" version -o short) to=$("$kubernetes/kubeadm" version -o short)
upgrade_kubectl() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/clusters/$cluster.kubeconfig" "$@"; }
plane_kubectl() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig" "$@"; }
upgrade_up() {
  instances_of "$cluster" | xargs -r incus delete --force
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --kubernetes-binaries "$kubernetes_older" $(cgroup_flag) --wait 10m
}
check "create a Kubernetes $from cluster" upgrade_up || return 0
# The pause image is on every node of either release.
probes() {
  local node image
  node=$(instances_of "$cluster" | grep -v -- '-lb$' | head -n 1)
  image=$(incus exec "$node" -- ctr -n k8s.io images list -q </dev/null | awk '/pause/ && !seen++')
  upgrade_kubectl apply -f - <<YAML
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe, namespace: default}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      tolerations: [{operator: Exists}]
      containers: [{name: pause, image: $image, imagePullPolicy: Never}]
YAML
}
check 'a pod runs on each node' probes
upgrade() { capn upgrade "$cluster" --kubernetes-version "$1" --kubernetes-binaries "$kubernetes" "${@:2}"; }
dry_run_names_all() {
  local plan what
  plan=$(upgrade "$to" --dry-run) || return 1
  for what in "image capn/kubeadm/$to" "KubeadmControlPlane/$cluster-control-plane" "MachineDeployment/$cluster-md-0"; do
    grep -F "$what" <<<"$plan" || { echo "$plan"; return 1; }
  done
  ! grep "$to" <<<"$(capn get machines "$cluster")"
}
up_points_to_upgrade() {
  local told
  told=$(capn up "$cluster" --kubernetes-version "$to" 2>&1) && return 1
  grep -F "capn upgrade $cluster --kubernetes-version $to" <<<"$told"
}
check 'delete its binding' upgrade_kubectl delete clusterrolebinding "$binding"

"$capn_bin" --state-dir "$scratch/state" serve --listen 127.0.0.1:0 >"$scratch/serve.log" 2>&1 &
serve_pid=$!
serve_answers() { plane_kubectl get --raw /readyz; }
check 'capn serve responds' until_true 'the plane answers' 30 serve_answers
has_binding() { upgrade_kubectl get clusterrolebinding "$binding"; }
check 'capn recreates the binding' until_true 'the binding is there' 120 has_binding

nodes_are() {
  local found
  found=$(upgrade_kubectl get nodes --no-headers) || return 1
  [ -n "$found" ] && ! grep -v " Ready .*$1\$" <<<"$found"
}
control_planes() { plane_kubectl get machines -A -l cluster.x-k8s.io/control-plane -o name; }
two_control_planes() { [ "$(control_planes | wc -l)" = 2 ]; }
# Killed as soon as a new machine exists, it is rolled back: the machines are the original ones.
taken_back() {
  local before after pid
  before=$(plane_kubectl get machines -A -o name | sort)
  "$capn_bin" --state-dir "$scratch/state" upgrade "$cluster" \
    --kubernetes-version "$to" --kubernetes-binaries "$kubernetes" &
  pid=$!
  until_true 'a new machine is there' 300 two_control_planes || return 1
  kill -KILL "$pid"
  wait "$pid" || true
  capn upgrade "$cluster" --rollback || return 1
  after=$(plane_kubectl get machines -A -o name | sort)
  [ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after"); return 1; }
  upgrade_kubectl -n kube-system get configmap kubeadm-config -o yaml | grep "kubernetesVersion: $from" || return 1
  nodes_are "$from"
}
# Killed at some point, the same command continues.
upgraded() {
  timeout --signal KILL 20 "$capn_bin" --state-dir "$scratch/state" upgrade "$cluster" \
    --kubernetes-version "$to" --kubernetes-binaries "$kubernetes"
  # shellcheck disable=SC2046 # two or four words
  upgrade "$to" $(wait_flags 15 | sed 's/--timeouts slow//') ||
    { plane_kubectl get machines,kubeadmcontrolplanes -A; tail -n 20 "$scratch/serve.log"; return 1; }
}
# Each node runs kube-proxy of its own version only. That of an old node runs until the node is deleted: a line of the watch
# names a pod and its node, and an old node has the same pod in all of them.
proxies() { upgrade_kubectl -n kube-system get pods -l k8s-app=kube-proxy "$@"; }
keeps_proxies() {
  local found
  found=$(awk 'NR == FNR { old[$1] = 1; next } $2 in old && !seen[$1, $2]++ { print $2 }' \
    "$scratch/old-nodes" "$scratch/proxies" | sort | uniq -c)
  echo "$found"
  [ "$(wc -l <<<"$found")" = "$(wc -l <"$scratch/old-nodes")" ] && ! awk '$1 != 1' <<<"$found" | grep .
}
proxies_are_new() {
  local want="kube-proxy:$to RollingUpdate "
  upgrade_kubectl -n kube-system rollout status daemonset/kube-proxy --timeout 5s || return 1
  upgrade_kubectl -n kube-system get daemonset kube-proxy -o \
    jsonpath='{.spec.template.spec.containers[0].image} {.spec.updateStrategy.type} {.metadata.annotations.capn\.cluster\.x-k8s\.io/rolling-update-after-rollout}' |
    grep "/$want\$"
}
needs_nothing() { grep 'nothing to do' <<<"$(upgrade "$to" 2>&1)"; }
refuses_a_downgrade() {
  local told
  told=$(upgrade "$from" 2>&1) && return 1
  grep 'cannot be downgraded' <<<"$told"
}
# The API server reaches kubelets: logs of a pod on each node, and exec in an etcd pod.
kubelets_answer() {
  local pod pods
  upgrade_kubectl rollout status daemonset/probe --timeout 10s || return 1
  pods=$(upgrade_kubectl get pods -l app=probe -o name)
  for pod in $pods; do upgrade_kubectl logs "$pod" || return 1; done
  for pod in $(upgrade_kubectl -n kube-system get pods -l component=etcd -o name); do
    upgrade_kubectl -n kube-system exec "$pod" -- etcd --version || return 1
  done
}
kubelets_answer_in_time() { until_true 'logs and exec work on each node' 60 kubelets_answer || kubelets_answer; }
check 'a dry run names the steps and changes nothing' until_true 'the cluster is Available' 60 dry_run_names_all
check 'capn up with another version points to capn upgrade' up_points_to_upgrade
check 'an upgrade that has just begun is rolled back' taken_back
upgrade_kubectl get nodes -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}' >"$scratch/old-nodes"
while proxies -w -o jsonpath='{.metadata.name} {.spec.nodeName}{"\n"}'; do :; done >"$scratch/proxies" 2>/dev/null &
watch_pid=$!
check "the cluster is upgraded to $to, and Services and DNS respond" upgraded
check "all nodes run $to" nodes_are "$to"
check 'kube-proxy of old nodes runs until they are deleted' keeps_proxies
check 'kube-proxy is new on all nodes and rolls out normally' until_true 'its DaemonSet is as before' 60 proxies_are_new
kill "$watch_pid"
wait "$watch_pid" 2>/dev/null || true
check 'the same command again has nothing to do' needs_nothing
check "a downgrade to $from is refused" refuses_a_downgrade
check 'logs and exec work on each node through the new API server' kubelets_answer_in_time
check 'the binding still exists' has_binding
kill "$serve_pid"
wait "$serve_pid" || true
check 'delete the cluster' capn delete cluster "$cluster"
