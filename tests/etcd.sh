# A cluster goes back to a snapshot of its etcd by one command, with `capn serve` and without a registry: what was
# deleted since is there again, nodes are Ready, Services answer, and a new pod runs. First with one control plane
# machine, then with three of which two are lost. Sourced by ./test.
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
# A pod that is made now runs, of an image that every node has.
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
  # Nothing is written over.
  ! capn etcd snapshot save "$cluster" --output "$scratch/mine.db"
}
# A copy of which one byte is another.
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

check 'a cluster with one control plane machine is up' etcd_up 1 1 || return 0
check 'a ConfigMap is written' mark
check 'a snapshot is taken, for its user alone' save
check 'it is listed, as taken by hand' listed hand
check 'another goes to a file, and no file is written over' saved_elsewhere
check 'the ConfigMap is deleted, and another written' unmark
check 'a damaged file is refused' damaged_is_refused
check 'a restore asks first' asks_first

"$capn_bin" --state-dir "$scratch/state" serve --listen 127.0.0.1:0 --etcd-snapshots-every 30s --etcd-snapshots-keep 2 \
  >"$scratch/serve.log" 2>&1 &
serve_pid=$!
check 'capn serve takes snapshots, and keeps two' until_true 'two were taken and an Event says so' 150 taken_by_schedule
kill "$serve_pid"
wait "$serve_pid" || true
# The newest by then knows of the deletion: the one by hand is named.
by_hand() { capn etcd snapshot list "$cluster" -o json | python3 -c 'import json, sys
print([one["path"] for one in json.load(sys.stdin) if one["reason"] == "hand"][-1])'; }
restored_by_hand() { capn etcd snapshot restore "$cluster" --from "$(by_hand)" --yes; }
check 'the cluster is back at the snapshot, and Services answer' restored_by_hand
check 'the ConfigMap is there again, and the other is gone' is_back
check 'all nodes are Ready' nodes_are_ready 2
check 'a new pod runs' new_pod_runs first
check 'the same again is another restore' restored_by_hand
check 'all nodes are Ready again' nodes_are_ready 2
check 'the cluster is deleted' capn delete cluster "$cluster"
rm -rf "$snapshots"

check 'a cluster with three control plane machines is up' etcd_up 3 0 || return 0
check 'a ConfigMap is written' mark
check 'a snapshot is taken' save
check 'the ConfigMap is deleted, and another written' unmark
# Two of three members are gone for good, and with them the quorum.
no_quorum() { ! etcd_kubectl get configmaps; }
lose_two() {
  local all
  mapfile -t all < <(instances_of "$cluster" | grep -v -- '-lb$' | sort)
  for node in "${all[@]:1}"; do incus exec "$node" -- sh -c 'rm -rf /var/lib/etcd/member; systemctl stop kubelet; pkill -9 -x etcd' || true; done
  until_true 'the API server has no quorum' 60 no_quorum
}
check 'the quorum is lost' lose_two
killed_and_continued() {
  timeout --signal KILL 25 "$capn_bin" --state-dir "$scratch/state" etcd snapshot restore "$cluster" --yes
  restored
}
check 'a restore that is killed is continued by the same command' killed_and_continued
check 'the ConfigMap is there again, and the other is gone' is_back
check 'three control plane nodes are Ready' nodes_are_ready 3
check 'a new pod runs' new_pod_runs second
check 'the cluster is deleted' capn delete cluster "$cluster"
