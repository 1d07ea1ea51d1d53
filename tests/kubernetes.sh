# A whole Kubernetes cluster, where its binaries are. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

binaries=$kubernetes
if [ -z "$kubernetes" ]; then
  skip 'a whole Kubernetes cluster' "$kubernetes_missing"
  return 0
fi

# shellcheck source=tests/health/lib.sh
. tests/health/lib.sh
# shellcheck source=tests/addons/lib.sh
. tests/addons/lib.sh
# shellcheck source=tests/machines/lib.sh
. tests/machines/lib.sh
cluster=capn-t-kube
up_kube() {
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --kubernetes-binaries "$binaries" --isolation isolated --max-pods 16 $(cgroup_flag) --wait 10m "$@"
}
kubectl_of() { "$binaries/kubectl" --kubeconfig "$scratch/state/clusters/$cluster.kubeconfig" "$@"; }

# Nodes of the default mode are those of ./test applications.
check 'a cluster of one control plane and one worker is up, with isolated nodes' up_kube
ready() { [ "$(kubectl_of get nodes --no-headers | grep -c ' Ready ')" = 2 ]; }
check 'both nodes are Ready' ready
readyz() { kubectl_of get --raw /readyz | has ok; }
check 'the API server answers through the load balancer' readyz
no_power() {
  local instance
  for instance in $(instances_of "$cluster"); do
    incus exec "$instance" -- sh -c 'grep -q "0 4294967295" /proc/self/uid_map' && return 1
    incus exec "$instance" -- sh -c 'echo x > /proc/sys/kernel/core_pattern' 2>/dev/null && return 1
    incus exec "$instance" -- sh -c 'echo 3 > /proc/sys/vm/drop_caches' 2>/dev/null && return 1
  done
  return 0
}
check 'root in a node has no power over the host' no_power
# The data of the first control plane holds the keys of the cluster's authorities.
forgotten() {
  local instance
  for instance in $(instances_of "$cluster" | grep -v -- '-lb$'); do
    [ -z "$(incus config get "$instance" cloud-init.user-data)" ] || { echo "$instance holds its data"; return 1; }
    if incus exec "$instance" -- grep -rlsE 'PRIVATE KEY|kubeadm (init|join)|token:' /var/lib/cloud /run/cloud-init /run/kubeadm; then
      echo "in $instance"
      return 1
    fi
  done
}
check 'no bootstrap data is left in a node or its configuration' forgotten
# Without a network card, so that it is not a second node of that name.
copied() {
  local node
  node=$(instances_of "$cluster" | grep -v -- '-lb$' | head -n 1)
  incus copy --instance-only "$node" capn-t-copy --device eth0,type=none >/dev/null 2>&1 \
    || incus copy --instance-only "$node" capn-t-copy >/dev/null 2>&1 || return 1
  incus config device add capn-t-copy eth0 none >/dev/null 2>&1
  incus start capn-t-copy || return 1
  incus exec capn-t-copy -- systemctl is-system-running --wait >/dev/null 2>&1
  incus exec capn-t-copy -- cloud-init status | has 'status: disabled' || return 1
  ! incus exec capn-t-copy -- test -e /run/cluster-api/bootstrap-success.complete
}
check 'a copy of a node does not run the data again' copied
incus delete -f capn-t-copy >/dev/null 2>&1
pods() {
  # The pause image is on every node. A pod of the host network of one node and a pod with an
  # address of its own on the other are enough to see a route; the node itself asks.
  kubectl_of apply -f - <<YAML || return 1
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe, namespace: default}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      tolerations: [{operator: Exists}]
      containers: [{name: pause, image: $(pause_image), imagePullPolicy: Never}]
YAML
  kubectl_of rollout status daemonset/probe --timeout 120s || return 1
  local instance address
  for instance in $(instances_of "$cluster" | grep -v -- '-lb$'); do
    for address in $(kubectl_of get pods -l app=probe -o jsonpath='{.items[*].status.podIP}'); do
      reaches "$address" incus exec "$instance" -- || return 1
    done
  done
}
# reaches ADDRESS COMMAND... : nothing listens on port 9, and only who got there can refuse.
reaches() {
  local address=$1 said
  shift
  said=$("$@" timeout 5 bash -c "</dev/tcp/$address/9" 2>&1 </dev/null)
  case $said in
    *'Connection refused'*) return 0 ;;
    *) echo "$* does not reach $address: $said"; return 1 ;;
  esac
}
pause_image() {
  local instance
  instance=$(instances_of "$cluster" | grep -v -- '-lb$' | head -n 1)
  incus exec "$instance" -- ctr -n k8s.io images list -q | awk '/pause/ && !seen++'
}
check 'pods on both nodes are reached from both nodes' pods
across() {
  # From the network of one pod to the address of the pod on the other node.
  local pods node own other network
  pods=$(kubectl_of get pods -l app=probe -o jsonpath='{range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}')
  while read -r node own; do
    other=$(awk -v me="$node" '$1 != me {print $2}' <<<"$pods")
    network=$(incus exec "$node" -- sh -c "for n in \$(ip netns list | cut -d' ' -f1); do ip netns exec \$n ip -4 addr | grep -q ' $own/' && echo \$n; done" </dev/null)
    if [ -z "$network" ]; then echo "$node has no network of a pod with $own"; return 1; fi
    reaches "$other" incus exec "$node" -- ip netns exec "$network" || return 1
  done <<<"$pods"
}
check 'a pod reaches the pod on the other node' across
# Pods with user namespaces of their own: `--max-pods` gives isolated nodes ids for them.
userns() {
  kubectl_of apply -f - <<YAML || return 1
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: userns, namespace: default}
spec:
  selector: {matchLabels: {app: userns}}
  template:
    metadata: {labels: {app: userns}}
    spec:
      hostUsers: false
      tolerations: [{operator: Exists}]
      containers: [{name: pause, image: $(pause_image), imagePullPolicy: Never}]
YAML
  kubectl_of rollout status daemonset/userns --timeout 120s
}
check 'pods with hostUsers: false run in isolated nodes' userns
userns_doors() {
  local node pod pods
  pods=$(kubectl_of get pods -l app=userns -o jsonpath='{range .items[*]}{.spec.nodeName} {.metadata.name}{"\n"}{end}')
  [ "$(wc -l <<<"$pods")" = 2 ] || { echo "pods: $pods"; return 1; }
  while read -r node pod; do
    capn doctor --escape-test "$node" --pod "default/$pod" </dev/null || return 1
  done <<<"$pods"
}
check 'no door is open from inside them, to node or host' userns_doors
unchanged() { up_kube -o json | has '"changed": false'; }
check 'the same command again changes nothing' unchanged
serves() {
  "$capn_bin" --state-dir "$scratch/state" serve --listen 127.0.0.1:0 >"$scratch/serve.log" 2>&1 &
  local pid=$! status=1
  if until_true 'the plane is served' 20 test -s "$scratch/state/plane.kubeconfig"; then
    "$binaries/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig" get clusters,machines,lxcmachines -A &&
      capn get clusters -o name | has -x "$cluster" && status=0
  fi
  kill $pid
  wait $pid || status=1
  return $status
}
check 'kubectl and capn work against capn serve' serves
check 'an application answers from each node' machines_app
check 'commands run in machines, with streams, bytes and exit codes passed on' machines_exec
check 'journals are shown and followed' machines_logs
check 'a bundle has logs and objects, and no secret' machines_bundle
check 'a cluster is stopped, and every command says so' machines_stopped
check 'nobody starts what is stopped' health_serve machines_left_alone
check 'it is started, and the application answers again' machines_started
check 'capn up starts what was stopped by hand' machines_up
check 'a ClusterResourceSet is applied, and again when it changes' health_serve addons_applied
check 'taints of machines reach nodes, and leave them' health_serve addons_taints
even() { ! capn scale "$cluster" --control-planes 2; }
check 'an even number of control planes is refused' even
has_control_planes() {
  [ "$(kubectl_of get nodes -l node-role.kubernetes.io/control-plane --no-headers | grep -c ' Ready ')" = "$1" ] &&
    [ "$(kubectl_of get pods -n kube-system -l component=etcd --no-headers | grep -c Running)" = "$1" ]
}
# Pods of nodes that are gone stay listed until the cluster collects them.
control_planes() {
  capn scale "$cluster" --control-planes "$1" --wait 6m &&
    until_true "$1 control planes, each with a member of etcd" 120 has_control_planes "$1"
}
check 'a worker whose instance is deleted is replaced' health_serve health_worker
check 'three control planes, each with a member of etcd' control_planes 3
check 'a control plane machine whose kubelet stops is replaced' health_serve health_control_plane
check 'one control plane again, and the cluster answers' control_planes 1
check 'the cluster is deleted' capn delete cluster "$cluster"
gone() { [ -z "$(instances_of "$cluster")" ]; }
check 'nothing is left on the server' gone
