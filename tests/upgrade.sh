# A control plane of the older release is replaced by one of the newer, with `capn serve` and kubectl, in a
# cluster as an older kubeadm made it: it has no ClusterRoleBinding for its API servers. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ] || [ -z "$kubernetes_older" ]; then
  skip 'an upgrade of Kubernetes' "${kubernetes_missing:-the directory of binaries is not one of ours; unset CAPN_KUBERNETES_BINARIES}"
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
check "a cluster of Kubernetes $from is up" upgrade_up || return 0
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
check "the image of $to is built" capn image build --kubernetes-binaries "$kubernetes" || return 0
check 'its binding is taken away' upgrade_kubectl delete clusterrolebinding "$binding"

"$capn_bin" --state-dir "$scratch/state" serve --listen 127.0.0.1:0 >"$scratch/serve.log" 2>&1 &
serve_pid=$!
serve_answers() { plane_kubectl get --raw /readyz; }
check 'capn serve answers' until_true 'the plane answers' 30 serve_answers
has_binding() { upgrade_kubectl get clusterrolebinding "$binding"; }
check 'capn makes the binding again' until_true 'the binding is there' 120 has_binding

control_plane_is() {
  local found
  found=$(upgrade_kubectl get nodes -l node-role.kubernetes.io/control-plane --no-headers) || return 1
  [ -n "$found" ] && ! grep -v " Ready .*$1\$" <<<"$found"
}
control_plane_upgraded() {
  plane_kubectl patch kubeadmcontrolplane "$cluster-control-plane" --type merge -p "{\"spec\":{\"version\":\"$to\"}}" || return 1
  until_true "the control plane is of $to" 300 control_plane_is "$to" ||
    { plane_kubectl get machines,kubeadmcontrolplanes -A; tail -n 20 "$scratch/serve.log"; return 1; }
}
# The API server reaches kubelets: the log of a pod on each node, and a command in one of etcd's.
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
check "the control plane is replaced by one of $to" control_plane_upgraded
check 'logs and exec work on each node, as seen by the new API server' kubelets_answer_in_time
check 'the binding stayed' has_binding
kill "$serve_pid"
wait "$serve_pid" || true
check 'the cluster is deleted' capn delete cluster "$cluster"
