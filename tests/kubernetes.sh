# A Kubernetes cluster, if binaries are available. Sourced by ./test.
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
# shellcheck source=tests/workers/lib.sh
. tests/workers/lib.sh
cluster=capn-t-kube
workers_file
up_kube() {
  # shellcheck disable=SC2046 # no flag or one
  capn up -f "$scratch/cluster.yaml" --kubernetes-binaries "$binaries" --isolation isolated --max-pods 16 $(cgroup_flag) --wait 10m "$@"
}
kubectl_of() { "$binaries/kubectl" --kubeconfig "$scratch/state/clusters/$cluster.kubeconfig" "$@"; }

# Nodes in the default isolation mode are covered by ./test applications.
check 'create a cluster with one control plane and one worker, with isolated nodes' up_kube
ready() { [ "$(kubectl_of get nodes --no-headers | grep -c ' Ready ')" = 2 ]; }
check 'both nodes are Ready' ready
readyz() { kubectl_of get --raw /readyz | has ok; }
check 'the API server responds through the load balancer' readyz
check 'settings from the configuration file are on every node' workers_settings
check 'registry credentials are only in the Secret' workers_secret
no_power() {
  local instance
  for instance in $(instances_of "$cluster"); do
    incus exec "$instance" -- sh -c 'grep -q "0 4294967295" /proc/self/uid_map' && return 1
    incus exec "$instance" -- sh -c 'echo x > /proc/sys/kernel/core_pattern' 2>/dev/null && return 1
    incus exec "$instance" -- sh -c 'echo 3 > /proc/sys/vm/drop_caches' 2>/dev/null && return 1
  done
  return 0
}
check 'root in a node cannot affect the host' no_power
# The bootstrap data of the first control plane contains the keys of the cluster's CAs.
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
# Without a NIC, so that it does not become a second node with that name.
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
check 'a copy of a node does not run the bootstrap data again' copied
incus delete -f capn-t-copy >/dev/null 2>&1
pods() {
  # The pause image is on every node. A host network pod on one node and a pod with its own
  # address on the other are enough to check a route; the node itself connects.
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
# reaches ADDRESS COMMAND... : nothing listens on port 9, and only the destination can refuse.
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
check 'pods on both nodes respond to both nodes' pods
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
# Pods with user namespaces: `--max-pods` reserves ids for them on isolated nodes.
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
check 'no escape vector to node or host is open in such pods' userns_doors
unchanged() { up_kube -o json | has '"changed": false'; }
check 'the same command again changes nothing' unchanged
check 'add a worker pool with labels and taints' workers_pool
check 'a pool that the file does not list is kept' workers_kept
check 'scale a pool and delete one of its machines' workers_scaled
check 'a pool is deleted, even after a killed delete' workers_gone
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
check 'an application responds from each node' machines_app
check 'exec passes on streams, bytes and exit codes' machines_exec
check 'journals are shown and followed' machines_logs
check 'a bundle has logs and objects but no secrets' machines_bundle
check 'a cluster is stopped, and every command reports it' machines_stopped
check 'stopped instances stay stopped' health_serve machines_left_alone
check 'start it; the application responds again' machines_started
check 'capn up starts manually stopped instances' machines_up
check 'a ClusterResourceSet is applied, and again when it changes' health_serve addons_applied
check 'taints of machines are added to and removed from nodes' health_serve addons_taints
even() { ! capn scale "$cluster" --control-planes 2; }
check 'an even number of control planes is refused' even
has_control_planes() {
  [ "$(kubectl_of get nodes -l node-role.kubernetes.io/control-plane --no-headers | grep -c ' Ready ')" = "$1" ] &&
    [ "$(kubectl_of get pods -n kube-system -l component=etcd --no-headers | grep -c Running)" = "$1" ]
}
# Pods of deleted nodes are listed until the cluster garbage-collects them.
control_planes() {
  capn scale "$cluster" --control-planes "$1" --wait 6m &&
    until_true "$1 control planes, each with a member of etcd" 120 has_control_planes "$1"
}
check 'a worker whose instance was deleted is replaced' health_serve health_worker
check 'three control planes, each with an etcd member' control_planes 3
check 'a control plane machine whose kubelet stops is replaced' health_serve health_control_plane
check 'scale to one control plane; the cluster responds' control_planes 1
check 'delete the cluster' capn delete cluster "$cluster"
gone() { [ -z "$(instances_of "$cluster")" ]; }
check 'nothing is left on the server' gone
