# A machine pool next to a control plane: created from the documented manifest, scaled, repaired, deleted.
# Sourced by ./test.
# shellcheck shell=bash disable=SC2016,SC2154,SC2317 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'a machine pool' "$kubernetes_missing"
  return 0
fi

cluster=capn-t-pool
pool=$cluster-mp-0
pool_server=''
pool_up() {
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --workers 0 $(cgroup_flag) $(wait_flags 10)
}
# The manifest of docs/how-to/machine-pools.md for this cluster, its version, and a host with cgroup v1.
pool_manifest() {
  local version
  version=$("$kubernetes/kubectl" version --client -o json | sed -nE 's/.*"gitVersion": "(v[^"]+)".*/\1/p' | head -n 1)
  sed -n '/^```yaml$/,/^```$/p' docs/how-to/machine-pools.md | grep -v '^```' | sed -E \
    -e "s/demo-mp-0/$pool/; s/clusterName: demo$/clusterName: $cluster/; s/version: v[0-9.]+/version: $version/" \
    -e 's/flavor: .*/flavor: c1-m2/' >"$scratch/pool.yaml"
  if [ -n "$(cgroup_flag)" ]; then
    sed -i -E \
      -e 's/^( *)failSwapOn: false$/&\n\1failCgroupV1: false/' \
      -e 's/^( *)nodeRegistration:$/&\n\1  ignorePreflightErrors: [SystemVerification]/' "$scratch/pool.yaml"
  fi
}
pool_made() { pool_manifest && capn apply -f "$scratch/pool.yaml" --wait "$((5 * patience))m"; }
pool_workload() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/clusters/$cluster.kubeconfig" "$@"; }
pool_plane() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig" "$@"; }
pool_nodes() { [ "$(pool_workload get nodes --no-headers | grep -c "^$pool-.* Ready ")" = "$1" ]; }
pool_described() { capn describe cluster "$cluster" | has "MachinePool/$pool  2 of 2"; }
pool_served() {
  "$capn_bin" --state-dir "$scratch/state" serve --listen 127.0.0.1:0 >"$scratch/pool-serve.log" 2>&1 &
  pool_server=$!
  until_true 'the plane to answer' 30 pool_plane get machinepools
}
pool_scaled() {
  pool_plane scale machinepool "$pool" --replicas "$1" &&
    until_true "$1 nodes of the pool to be Ready" 120 pool_nodes "$1" &&
    pool_plane wait "machinepool/$pool" --for "jsonpath={.status.availableReplicas}=$1" --timeout 60s
}
pool_instances() { instances_of "$cluster" | grep "^$pool-"; }
pool_mended() {
  local lost
  lost=$(pool_instances | head -n 1)
  incus delete --force "$lost" || return 1
  pool_is_mended() { ! pool_plane get machine "$lost" >/dev/null 2>&1 && pool_nodes 1; }
  until_true "another machine in the place of $lost" 180 pool_is_mended
}
pool_deleted() {
  pool_plane delete machinepool "$pool" --timeout "$((120 * patience))s" && [ -z "$(pool_instances)" ] &&
    ! pool_plane get lxcmachinepools,kubeadmconfigs -o name | has "/$pool$"
}
# With a pool, as after an hour of work.
pool_cluster_deleted() {
  capn apply -f "$scratch/pool.yaml" --wait 0 && capn delete cluster "$cluster" && [ -z "$(instances_of "$cluster")" ]
}

check 'create a cluster with one control plane' pool_up || return 0
check 'the manifest in the documentation creates a pool of two' pool_made
check 'both nodes are Ready' pool_nodes 2
check 'describe shows the pool and its machines' pool_described
check 'capn serve serves the plane' pool_served
check 'kubectl scales it to three' pool_scaled 3
check 'and to one' pool_scaled 1
check 'a manually deleted instance is replaced' pool_mended
check 'a deleted pool leaves no instance and no object' pool_deleted
check 'delete the cluster with a pool; nothing is left' pool_cluster_deleted
if [ -n "$pool_server" ]; then
  kill "$pool_server" 2>/dev/null
  wait "$pool_server" 2>/dev/null
fi
