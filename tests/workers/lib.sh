# A configuration file, and pools of workers. The caller sets `cluster`, and defines kubectl_of.
# Sourced by tests/kubernetes.sh.
# shellcheck shell=bash disable=SC2154 # scratch and cluster are set by the caller

# workers_file: what the cluster is made from, besides options.
workers_file() {
  cat >"$scratch/cluster.yaml" <<YAML
apiVersion: capn.cluster.x-k8s.io/v1alpha1
kind: ClusterConfig
metadata: {name: $cluster}
loadBalancer: {flavor: c1-m1}
kubelet: {serializeImagePulls: false, maxParallelImagePulls: 3}
apiServer: {extraArgs: {event-ttl: 2h0m0s}}
registries:
- host: registry.example.org
  mirrors: [http://127.0.0.1:5000]
  credentialsFile: registry-login
files:
- path: /etc/capn-t/greeting
  content: from the file
preKubeadmCommands: ["cp /etc/capn-t/greeting /run/capn-t-before"]
postKubeadmCommands: ["test -e /etc/kubernetes/kubelet.conf && touch /run/capn-t-after"]
YAML
  printf 'user:capn-t-password\n' >"$scratch/registry-login" && chmod 600 "$scratch/registry-login"
}
nodes_of() { instances_of "$cluster" | grep -v -- '-lb$'; }

workers_settings() {
  local node hosts=/etc/containerd/certs.d/registry.example.org/hosts.toml
  for node in $(nodes_of); do
    incus exec "$node" -- grep -qx 'from the file' /run/capn-t-before || return 1
    incus exec "$node" -- test -e /run/capn-t-after || return 1
    incus exec "$node" -- stat -c '%a %U' "$hosts" | has -x '600 root' || return 1
    incus exec "$node" -- grep -q 'authorization = "Basic dXNlcjpjYXBuLXQtcGFzc3dvcmQ="' "$hosts" || return 1
    kubectl_of get --raw "/api/v1/nodes/$node/proxy/configz" | has '"maxParallelImagePulls":3' || return 1
  done
  kubectl_of -n kube-system get pods -l component=kube-apiserver -o yaml | has -- --event-ttl=2h0m0s || return 1
  incus config get "$(instances_of "$cluster" | grep -- '-lb$')" limits.memory | has '1024MiB'
}
# The Secret alone has it, and that is base64 in the plane.
workers_secret() {
  ! grep -qa -e capn-t-password -e dXNlcjpjYXBuLXQtcGFzc3dvcmQ= "$scratch"/state/plane.db*
}

workers_pool() {
  capn create pool extra --cluster "$cluster" --workers 1 --flavor c1-m2 --label example.org/extra=yes \
    --label node-role.kubernetes.io/extra= --taint example.org/extra=yes:NoSchedule --wait 5m || return 1
  kubectl_of get nodes -l example.org/extra=yes,node-role.kubernetes.io/extra -o yaml >"$scratch/extra" || return 1
  has 'key: example.org/extra' <"$scratch/extra" && has 'memory: 2Gi\|memory: 2097152Ki' <"$scratch/extra" &&
    capn get pools "$cluster" -o name | has -x extra
}
# The file names the pool no more than before, and nothing is deleted by that.
workers_kept() { up_kube -o json | has '"changed": false' && capn get pools "$cluster" -o name | has -x extra; }
workers_scaled() {
  capn scale "$cluster" --pool extra --workers 2 --wait 5m || return 1
  capn delete machine "$(capn get machines "$cluster" -o name | grep -- -extra- | head -n 1)" --scale-down --wait 5m || return 1
  [ "$(capn get machines "$cluster" -o name | grep -c -- -extra-)" = 1 ]
}
workers_gone() {
  timeout -s KILL 2 "$capn_bin" --state-dir "$scratch/state" delete pool extra --cluster "$cluster"
  capn delete pool extra --cluster "$cluster" || return 1
  ! nodes_of | has -- -extra- && [ -z "$(kubectl_of get nodes -l example.org/extra -o name)" ] &&
    ! capn get pools "$cluster" -o name | has -x extra
}
