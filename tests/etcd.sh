# Restores a cluster from an etcd snapshot with one command, with `capn serve` and without a registry: objects
# deleted since are back, nodes are Ready, Services respond, and a new pod runs. First with one control plane
# machine, then with three of which two are lost,
# then with three of which all are lost. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'snapshots of etcd' "$kubernetes_missing"
  return 0
fi

cluster=capn-t-etcd
snapshots=$scratch/state/etcd-snapshots/default/$cluster
etcd_kubectl() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/clusters/$cluster.kubeconfig" --request-timeout 10s "$@"; }
plane_kubectl() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig" "$@"; }
# etcd_up CONTROL_PLANES WORKERS
etcd_up() {
  instances_of "$cluster" | xargs -r incus delete --force
  # shellcheck disable=SC2046 # no flag or some
  capn up "$cluster" --kubernetes-binaries "$kubernetes" --control-planes "$1" --workers "$2" $(cgroup_flag) $(wait_flags 15)
}
nodes_are_ready() {
  local found
  found=$(etcd_kubectl get nodes --no-headers) || return 1
  [ "$(wc -l <<<"$found")" = "$1" ] && ! grep -v ' Ready ' <<<"$found"
}
marked() { etcd_kubectl get configmap capn-t-etcd -o 'jsonpath={.data.at}'; }
mark() { etcd_kubectl create configmap capn-t-etcd --from-literal=at=before; }
unmark() { etcd_kubectl delete configmap capn-t-etcd && etcd_kubectl create configmap capn-t-after; }
# A new pod runs, with an image that every node has.
new_pod_runs() {
  local node image
  node=$(instances_of "$cluster" | grep -v -- '-lb$' | head -n 1)
  image=$(incus exec "$node" -- ctr -n k8s.io images list -q </dev/null | awk '/pause/ && !seen++')
  etcd_kubectl apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: "$1", namespace: default}
spec:
  tolerations: [{operator: Exists}]
  containers: [{name: pause, image: $image, imagePullPolicy: Never}]
YAML
  etcd_kubectl wait --for=condition=Ready "pod/$1" --timeout "$((60 * patience))s" --request-timeout 0
}
save() {
  local path
  path=$(capn etcd snapshot save "$cluster") || return 1
  [ "$(stat -c %a "$path")" = 600 ] && [ "$(stat -c %a "$path.json")" = 600 ] && ls -l "$snapshots"
}
listed() { capn etcd snapshot list "$cluster" | has " $1 "; }
saved_elsewhere() {
  capn etcd snapshot save "$cluster" --output "$scratch/mine.db" || return 1
  # Existing files are not overwritten.
  ! capn etcd snapshot save "$cluster" --output "$scratch/mine.db"
}
# A copy with one changed byte.
damaged_is_refused() {
  local told
  cp "$scratch/mine.db" "$scratch/damaged.db"
  printf x | dd of="$scratch/damaged.db" bs=1 seek=5000 conv=notrunc
  told=$(capn etcd snapshot restore "$cluster" --from "$scratch/damaged.db" --force --yes 2>&1) && return 1
  grep 'is damaged' <<<"$told"
}
asks_first() {
  local told
  told=$(capn etcd snapshot restore "$cluster" </dev/null 2>&1) && return 1
  grep -- '--yes' <<<"$told"
}
restored() { capn etcd snapshot restore "$cluster" --yes; }
is_back() { [ "$(marked)" = before ] && ! etcd_kubectl get configmap capn-t-after; }
taken_by_schedule() { [ "$(capn etcd snapshot list "$cluster" | grep -c ' schedule ')" = 2 ] && plane_kubectl get events | has EtcdSnapshotTaken; }

check 'create a cluster with one control plane machine' etcd_up 1 1 || return 0
check 'create a ConfigMap' mark
check 'take a snapshot that only its user can read' save
check 'it is listed as a manual snapshot' listed hand
check 'write another snapshot to a file without overwriting' saved_elsewhere
check 'delete the ConfigMap and create another' unmark
check 'a damaged file is refused' damaged_is_refused
check 'a restore asks for confirmation' asks_first

"$capn_bin" --state-dir "$scratch/state" serve --listen 127.0.0.1:0 --etcd-snapshots-every 30s --etcd-snapshots-keep 2 \
  >"$scratch/serve.log" 2>&1 &
serve_pid=$!
check 'capn serve takes snapshots and keeps two' until_true 'two were taken and an Event says so' 150 taken_by_schedule
kill "$serve_pid"
wait "$serve_pid" || true
# The newest snapshot was taken after the deletion, so name the manual one.
by_hand() { capn etcd snapshot list "$cluster" -o json | python3 -c 'import json, sys
print([one["path"] for one in json.load(sys.stdin)["items"] if one["reason"] == "hand"][-1])'; }
restored_by_hand() { capn etcd snapshot restore "$cluster" --from "$(by_hand)" --yes; }
check 'the cluster is restored from the snapshot, and Services respond' restored_by_hand
check 'the ConfigMap is back, and the other one is gone' is_back
check 'all nodes are Ready' nodes_are_ready 2
check 'a new pod runs' new_pod_runs first
check 'restoring again works' restored_by_hand
check 'all nodes are Ready again' nodes_are_ready 2
check 'delete the cluster' capn delete cluster "$cluster"
rm -rf "$snapshots"

check 'create a cluster with three control plane machines' etcd_up 3 0 || return 0
check 'create a ConfigMap' mark
check 'take a snapshot' save
check 'delete the ConfigMap and create another' unmark
# Two of three members are permanently lost, and with them the quorum.
no_quorum() { ! etcd_kubectl get configmaps; }
lose_two() {
  local all
  mapfile -t all < <(instances_of "$cluster" | grep -v -- '-lb$' | sort)
  for node in "${all[@]:1}"; do incus exec "$node" -- sh -c 'rm -rf /var/lib/etcd/member; systemctl stop kubelet; pkill -9 -x etcd' || true; done
  until_true 'the API server has no quorum' 60 no_quorum
}
check 'lose the quorum' lose_two
killed_and_continued() {
  timeout --signal KILL 25 "$capn_bin" --state-dir "$scratch/state" etcd snapshot restore "$cluster" --yes
  restored
}
check 'the same command continues a killed restore' killed_and_continued
check 'the ConfigMap is back, and the other one is gone' is_back
check 'three control plane nodes are Ready' nodes_are_ready 3
check 'a new pod runs' new_pod_runs second
check 'delete the cluster' capn delete cluster "$cluster"
rm -rf "$snapshots"

# Every instance of the control plane is permanently lost: one command creates a new first machine from the snapshot.
lose_all() {
  instances_of "$cluster" | grep -- '-control-plane-' | xargs -r incus delete --force
  until_true 'the API server is gone' 60 no_quorum
}
restored_is_killed() { timeout --signal KILL "$((60 * patience))" "$capn_bin" --state-dir "$scratch/state" etcd snapshot restore "$cluster" --yes || true; }
check 'create a cluster with three control plane machines and a worker' etcd_up 3 1 || return 0
check 'write a ConfigMap' mark
check 'take a snapshot' save
check 'delete the ConfigMap, and write another' unmark
worker_before=$(instances_of "$cluster" | grep -- '-md-0-')
check 'lose all control plane instances' lose_all
check 'kill a restore without any of them' restored_is_killed
check 'the same command creates a new first machine, and the others join' restored
check 'the ConfigMap is back, and the other one is gone' is_back
check 'four nodes are Ready' nodes_are_ready 4
check 'the worker is the same one as before' [ "$(instances_of "$cluster" | grep -- '-md-0-')" = "$worker_before" ]
check 'a new pod runs' new_pod_runs third
check 'delete the cluster' capn delete cluster "$cluster"
