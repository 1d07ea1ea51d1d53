# Resources of a ClusterResourceSet are applied, and taints of machines are added to nodes, while the plane is
# served. The caller sets `cluster`, and defines kubectl_of. Sourced by tests/kubernetes.sh.
# shellcheck shell=bash disable=SC2154 # scratch and binaries are set by ./test and the caller

addons_plane() { "$binaries/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig" "$@"; }
# addons_set TEXT : a ClusterResourceSet with this ConfigMap text, in a separate namespace.
addons_set() {
  addons_plane apply -f - <<YAML
apiVersion: addons.cluster.x-k8s.io/v1beta2
kind: ClusterResourceSet
metadata: {name: greeting}
spec:
  clusterSelector: {matchLabels: {greeting: "yes"}}
  resources: [{kind: ConfigMap, name: greeting}]
  strategy: Reconcile
---
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting}
data:
  greeting.yaml: |
    {apiVersion: v1, kind: Namespace, metadata: {name: greeting}}
    ---
    {apiVersion: v1, kind: ConfigMap, metadata: {name: hello, namespace: greeting}, data: {text: $1}}
YAML
}
addons_text_is() { [ "$(kubectl_of get configmap -n greeting hello -o 'jsonpath={.data.text}')" = "$1" ]; }
addons_applied() {
  addons_set hello && addons_plane label --overwrite cluster "$cluster" greeting=yes &&
    until_true 'the manifest to be applied' 30 addons_text_is hello &&
    addons_set again && until_true 'the change to be applied' 30 addons_text_is again &&
    addons_plane delete clusterresourceset greeting && addons_text_is again && return
  addons_plane describe clusterresourceset greeting
  tail -n 5 "$scratch/serve.log"
  return 1
}
# addons_taint JSON : the taints of the workers' template.
addons_taint() {
  addons_plane patch machinedeployment "$cluster-md-0" --type merge -p "{\"spec\":{\"template\":{\"spec\":{\"taints\":$1}}}}"
}
addons_tainted() {
  kubectl_of get nodes -l '!node-role.kubernetes.io/control-plane' -o 'jsonpath={.items[*].spec.taints}' | has example.com/gpu
}
addons_untainted() { ! addons_tainted; }
addons_taints() {
  local nodes
  nodes=$(kubectl_of get nodes -o name)
  addons_taint '[{"key":"example.com/gpu","effect":"NoSchedule","propagation":"Always"}]' &&
    until_true 'the taint to be on the node' 30 addons_tainted &&
    addons_taint null && until_true 'the taint to be gone' 30 addons_untainted &&
    [ "$(kubectl_of get nodes -o name)" = "$nodes" ]
}
