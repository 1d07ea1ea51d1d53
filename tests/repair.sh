# A cluster with three control planes and a worker loses instances, its load balancer and its etcd quorum, and `capn
# repair` recovers it each time, including an object created before. Only when named. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'repairs of a cluster' "${kubernetes_missing:-the directory of binaries is not one of ours; unset CAPN_KUBERNETES_BINARIES}"
  return 0
fi

cluster=capn-t-repair
kubeconfig=$scratch/state/clusters/$cluster.kubeconfig
repair_kubectl() { "$kubernetes/kubectl" --kubeconfig "$kubeconfig" --request-timeout 10s "$@"; }
# repair_up FLAGS... : without health checks, so that only repair replaces machines.
repair_up() {
  instances_of "$cluster" | xargs -r incus delete --force
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --kubernetes-binaries "$kubernetes" --control-planes 3 --workers 1 \
    --machine-health-checks=false $(cgroup_flag) $(wait_flags 15)
}
check 'create three control planes and a worker without health checks' repair_up || return 0
machines() { capn get machines "$cluster" -o json | python3 -c 'import json, sys
for m in json.load(sys.stdin)["items"]:
    if m["role"] == sys.argv[1]: print(m["name"])' "$1"; }
writes() { repair_kubectl create configmap "$1" --from-literal "when=$1"; }
has_written() { [ "$(repair_kubectl get configmap "$1" -o jsonpath='{.data.when}')" = "$1" ]; }
is_whole() {
  [ "$(repair_kubectl get nodes --no-headers | grep -c ' Ready ')" = 4 ] && [ "$(repair_kubectl get nodes --no-headers | wc -l)" = 4 ] &&
    [ "$(repair_kubectl get pods -n kube-system -l component=etcd --no-headers | grep -c Running)" = 3 ]
}
whole() { until_true 'four Ready nodes and three members of etcd' 120 is_whole || { repair_kubectl get nodes,pods -A; return 1; }; }
repair() { capn repair "$cluster" --timeout 15m "$@"; }
dry() { capn repair "$cluster" --dry-run; }
is_well() { repair 2>&1 | has 'nothing to repair'; }
check 'a healthy cluster needs no repair' is_well
check 'create an object' writes before

lost_worker() {
  local worker
  worker=$(machines worker)
  incus delete --force "$worker"
  dry | has "worker $worker .*gone from the server .*replaced" || { dry; return 1; }
  repair || return 1
  [ "$(machines worker)" != "$worker" ] && whole
}
check 'a worker whose instance was deleted is replaced' lost_worker
lost_control_plane() {
  local one
  one=$(machines control-plane | head -n 1)
  incus delete --force "$one"
  repair || return 1
  ! machines control-plane | has -x "$one" && whole
}
check 'one of three control planes is replaced with its etcd member' lost_control_plane
lost_balancer() {
  local before
  before=$(incus list -f csv -c 4 "$cluster-.*-lb$")
  incus delete --force "$(instances_of "$cluster" | grep -- '-lb$')"
  repair || return 1
  [ "$(incus list -f csv -c 4 "$cluster-.*-lb$")" = "$before" ] && whole
}
check 'a deleted load balancer is recreated with its address' lost_balancer
stopped() {
  instances_of "$cluster" | xargs incus stop --force
  repair && whole
}
check 'a cluster whose instances are all stopped is started' stopped
no_kubelet() {
  local worker
  worker=$(machines worker)
  incus exec "$worker" -- systemctl stop kubelet </dev/null
  until_true 'the node is not Ready' 90 is_not_ready "$worker" || return 1
  repair && [ "$(machines worker)" = "$worker" ] && whole
}
is_not_ready() { repair_kubectl get node "$1" --no-headers | has ' NotReady '; }
check 'a stopped kubelet is started' no_kubelet

two_lost() {
  local all
  mapfile -t all < <(machines control-plane)
  survivor=${all[0]}
  # A stopped member is not lost: it is started, and no single-member cluster is forced.
  incus stop --force "${all[1]}" "${all[2]}"
  dry | has 'single-member cluster' && { dry; return 1; }
  repair && whole && writes between || return 1
  incus delete --force "${all[1]}" "${all[2]}"
  repair </dev/null && { echo 'it did not ask'; return 1; }
  manifest=$(incus exec "$survivor" -- sha256sum /etc/kubernetes/manifests/etcd.yaml </dev/null)
  # Killed at some point, the same command continues.
  timeout --signal KILL 15 "$capn_bin" --state-dir "$scratch/state" repair "$cluster" --yes
  repair --yes || { capn describe cluster "$cluster"; return 1; }
  whole && has_written before && has_written between
}
check 'two of three control planes are lost at once: etcd continues from the third' two_lost
nothing_kept() {
  [ "$(incus exec "$survivor" -- sha256sum /etc/kubernetes/manifests/etcd.yaml </dev/null)" = "$manifest" ] &&
    ! incus exec "$survivor" -- test -e /var/lib/capn-repair </dev/null
}
check 'its manifest is restored, and no backup is left' nothing_kept
check 'create an object; the cluster needs no repair' writes after
check 'the cluster needs no repair' is_well
check 'delete the cluster' capn delete cluster "$cluster"
