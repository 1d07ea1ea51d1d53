# Real clusterctl, kube-apiserver and the controllers of Cluster API, with capn as their provider, on
# a real Incus: docs/how-to/management-cluster.md. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

binaries=$kubernetes
peers=${CAPN_CLUSTER_API_BINARIES:-/var/lib/capn/peers}
missing=''
for name in "$binaries"/{kube-apiserver,kube-controller-manager,etcd,kubeadm,kubectl} \
  "$peers"/{clusterctl,cluster-api-core-manager,kubeadm-bootstrap-manager,kubeadm-control-plane-manager} \
  "$peers"/repo/{cluster-api,bootstrap-kubeadm,control-plane-kubeadm}; do
  [ -e "$name" ] || missing+=" $name"
done
for name in jq curl; do command -v $name >/dev/null || missing+=" the command $name"; done
if [ -n "$missing" ]; then
  skip 'the controllers of Cluster API' "CAPN_KUBERNETES_BINARIES and CAPN_CLUSTER_API_BINARIES lead to no$missing"
  return 0
fi

plane=$scratch/management
teams_cluster=capn-t-teams
teams_project=capn-t-teams
# shellcheck source=tests/management/plane.sh
. tests/management/plane.sh

# What a run that was killed left: the processes that it started, and the project.
teams_leftovers() {
  local in=(--project "$teams_project")
  plane_leftovers || return 1
  if incus project show "$teams_project" >/dev/null 2>&1; then
    incus list "${in[@]}" -f csv -c n | xargs -r incus delete "${in[@]}" -f
    incus image list "${in[@]}" -f csv -c f | xargs -r -n 1 incus image delete "${in[@]}"
    incus project delete "$teams_project" || return 1
  fi
  return 0
}
teams_repository() { capn generate provider --out "$plane/repository"; }
teams_plane() { plane_kubernetes && plane_cluster_api "$plane/repository"; }
teams_install() {
  plane_clusterctl init --infrastructure incus &&
    plane_kubectl -n capn-system scale deployment capn-controller-manager --replicas 0 &&
    plane_account capn-system capn-manager "$plane/capn.kubeconfig"
}
# teams_copy NAME PORT: a manager with its probes on that port and its metrics on the next one.
teams_copy() {
  plane_run "$1" env HOSTNAME="$1" "$capn_bin" manager --kubeconfig "$plane/capn.kubeconfig" --leader-elect \
    --leader-election-namespace capn-system --leader-elect-lease-duration=6s \
    --leader-elect-renew-deadline=4s --leader-elect-retry-period=500ms --logging-format json \
    --health-addr "127.0.0.1:$2" --diagnostics-address "127.0.0.1:$(($2 + 1))" --insecure-diagnostics
}
teams_leads() {
  plane_kubectl get lease controller-leader-election-capn -n capn-system -o jsonpath='{.spec.holderIdentity}' |
    has "^$1_"
}
teams_one() { teams_copy one 16470 && plane_within 30 teams_leads one; }

# A dedicated project in which only unprivileged containers are allowed, over HTTPS.
teams_listens() { [ -n "$(incus config get core.https_address)" ]; }
teams_identity() {
  local listen=()
  if ! teams_listens; then listen=(--listen 127.0.0.1:16480); fi
  capn identity create incus --restricted --project "$teams_project" "${listen[@]}" --apply \
    --kubeconfig "$plane/kubeconfig" || return 1
  local image
  for image in capn/haproxy "capn/kubeadm/$teams_version"; do
    incus image copy "local:$image" local: --target-project "$teams_project" --copy-aliases -q || return 1
  done
}
teams_version=$("$binaries/kubeadm" version -o short)
teams_images() {
  capn image build haproxy && capn image build kubeadm --kubernetes-binaries "$binaries"
}

# Both render every template identically.
teams_render() {
  local flavor
  for flavor in default development ubuntu kube-vip ovn autoscaler talos k3s rke2; do
    (
      file=cluster-template-$flavor
      if [ $flavor = default ]; then file=cluster-template; fi
      # shellcheck source=/dev/null
      . "templates/$file.rc"
      export KUBERNETES_VERSION=${KUBERNETES_VERSION:-$teams_version}
      option=()
      if [ $flavor != default ]; then option=(--flavor "$flavor"); fi
      plane_clusterctl generate cluster demo --infrastructure incus "${option[@]}" >"$plane/theirs.yaml" &&
        capn generate cluster demo --template $flavor >"$plane/ours.yaml" &&
        same_objects "$plane/theirs.yaml" "$plane/ours.yaml"
    ) || { echo "flavor $flavor"; return 1; }
  done
}
# Compares the objects of two files, regardless of order and format.
same_objects() {
  local file
  for file in "$@"; do
    # kubectl parses YAML; a local label command needs no server.
    "$binaries/kubectl" label --local --dry-run=client -f "$file" capn-t=1 -o json |
      jq -S -s 'map(.items // [.]) | add | sort_by(.kind, .metadata.name)' >"$file.json" || return 1
  done
  diff "$1.json" "$2.json"
}

# kubelet must be configured for cgroup v1, which the class does not support.
teams_cgroup() {
  if [ -z "$(cgroup_flag)" ]; then cat; return; fi
  sed -E -e 's/^( *)failSwapOn: false$/&\n\1failCgroupV1: false/' \
    -e 's/^( *)nodeRegistration:$/&\n\1  ignorePreflightErrors: [SystemVerification]/'
}
teams_apply() {
  KUBERNETES_VERSION=$teams_version LXC_SECRET_NAME=incus LOAD_BALANCER='lxc: {}' PRIVILEGED=false CNI=bridge WORKER_MACHINE_COUNT=1 \
    CONTROL_PLANE_MACHINE_FLAVOR=c2-m2 WORKER_MACHINE_FLAVOR=c2-m2 \
    plane_clusterctl generate cluster "$teams_cluster" --infrastructure incus |
    teams_cgroup | plane_kubectl apply -f - && plane_within 300 teams_available 1 1
}
# teams_available CONTROL_PLANES WORKERS: all machines are available, and so is the Cluster.
teams_available() {
  plane_kubectl get cluster "$teams_cluster" -o json | jq -e --argjson cp "$1" --argjson workers "$2" '
    .status | .controlPlane.availableReplicas == $cp and .workers.availableReplicas == $workers
      and any(.conditions[]; .type == "Available" and .status == "True")'
}
teams_instances() { incus list --project "$teams_project" -f csv -c n "$@"; }
teams_unprivileged() {
  local instance
  for instance in $(teams_instances "user.cluster-name=$teams_cluster"); do
    incus exec --project "$teams_project" "$instance" -- grep -q '0 4294967295' /proc/self/uid_map && return 1
  done
  return 0
}
teams_conditions() {
  plane_clusterctl describe cluster "$teams_cluster" --show-conditions all || return 1
  plane_kubectl get lxcclusters,lxcmachines -o json | jq -e '
    [.items[].status.conditions[]] as $all
      | ([$all[] | select(.type == "Ready")] | length == 3 and all(.status == "True"))
        and any($all[]; .type == "ServerHealthy" and (.message | startswith("the identity has no permission to read")))'
}
teams_scale() {
  plane_kubectl patch cluster "$teams_cluster" --type json -p "[
    {\"op\": \"replace\", \"path\": \"/spec/topology/controlPlane/replicas\", \"value\": $1},
    {\"op\": \"replace\", \"path\": \"/spec/topology/workers/machineDeployments/0/replicas\", \"value\": $2}]"
}
teams_more_than() { [ "$(teams_instances | wc -l)" -gt "$1" ]; }
# The leader is killed while it creates machines; the other replica creates the rest, and nothing twice.
teams_killed() {
  teams_copy two 16472 && plane_within 30 plane_answers http://127.0.0.1:16472/readyz &&
    teams_scale 3 2 && plane_within 60 teams_more_than 3 && plane_stop one KILL &&
    plane_within 60 teams_leads two && plane_within 400 teams_available 3 2 &&
    [ "$(teams_instances | wc -l)" = 6 ] && ! has '"level":"ERROR"' "$plane/two.log"
}
teams_requests() {
  plane_answers http://127.0.0.1:16473/metrics | awk '/^capn_server_request_duration_seconds_count/ { n += $NF } END { print n }'
}
teams_idle() {
  local before after
  before=$(teams_requests) && sleep 30 && after=$(teams_requests) && echo "requests before $before, after $after"
  [ "$before" = "$after" ]
}
teams_delete() {
  plane_kubectl delete cluster "$teams_cluster" --timeout 180s && [ -z "$(teams_instances)" ]
}
# The identity with its project and images, and the listener if it was added here.
teams_identity_gone() {
  capn identity delete incus --with-project --kubeconfig "$plane/kubeconfig" || return 1
  if [ "$(incus config get core.https_address)" = 127.0.0.1:16480 ]; then incus config unset core.https_address; fi
  ! incus project show "$teams_project"
}

# A terminated run stops its processes.
trap 'plane_down; rm -rf "$scratch"' EXIT
check 'clean up after a killed run' teams_leftovers
check 'provide images of this Kubernetes version' teams_images
check 'write a clusterctl repository' teams_repository
if check 'kube-apiserver and the controllers of Cluster API run' teams_plane; then
  check 'clusterctl installs capn' teams_install
  check 'clusterctl and capn render all templates identically' teams_render
  check 'create an identity that can only create unprivileged containers' teams_identity
  check 'capn manager leads with the permissions of its service account' teams_one
  check 'the class creates a cluster with PRIVILEGED=false that becomes Available' teams_apply
  check 'its conditions are True' teams_conditions
  check 'none of its nodes is privileged' teams_unprivileged
  check 'when the leader is killed while scaling, nothing is created twice' teams_killed
  check 'no requests are sent to the server while the cluster is idle' teams_idle
  check 'delete the cluster; nothing is left' teams_delete
  # shellcheck source=tests/management/switch.sh
  . tests/management/switch.sh
  check 'delete the identity and its project' teams_identity_gone
fi
plane_down
