# capn takes over a cluster of the Go provider in place, and hands it back:
# docs/how-to/from-go-provider.md. Sourced by tests/management.sh.
# shellcheck shell=bash disable=SC2154

if ! [ -x "$peers/capn-go-manager" ] || ! [ -d "$peers/repo-go/infrastructure-incus" ]; then
  skip 'switching from the Go provider and back' "$peers has no capn-go-manager, or no repo-go/infrastructure-incus"
  return 0
fi
switched=capn-t-go

# switch_provider REPOSITORY ACCOUNT: the steps in docs/how-to/from-go-provider.md.
switch_provider() {
  plane_repositories "$1" >"$plane/clusterctl.yaml"
  plane_clusterctl delete --infrastructure incus && plane_clusterctl init --infrastructure incus &&
    plane_kubectl -n capn-system scale deployment capn-controller-manager --replicas 0 &&
    plane_account capn-system "$2" "$plane/$2.kubeconfig"
}
switch_to_go() {
  plane_stop two
  plane_stop three
  switch_provider "$peers/repo-go" capn-controller-manager || return 1
  # Cluster API uses the newest contract listed in a CRD, and this provider has the older one.
  plane_kubectl label crds -l cluster.x-k8s.io/provider=infrastructure-incus cluster.x-k8s.io/v1beta2- || return 1
  plane_run go "$peers/capn-go-manager" --kubeconfig "$plane/capn-controller-manager.kubeconfig" \
    --health-addr 127.0.0.1:16476 --diagnostics-address 0
  plane_within 30 plane_answers http://127.0.0.1:16476/readyz
}
switch_to_capn() {
  plane_stop go
  switch_provider "$plane/repository" capn-manager || return 1
  mv "$plane/capn-manager.kubeconfig" "$plane/capn.kubeconfig"
  teams_copy three 16474 && plane_within 60 teams_leads three && plane_within 60 switched_adopted
}

# Its haproxy configuration needs more open files than a container has on some hosts.
switched_image() {
  local name=capn-t-image in=(--project "$teams_project")
  incus launch capn/haproxy $name "${in[@]}" -q </dev/null &&
    printf '%s\n' '[Service]' 'ExecReload=' \
      'ExecReload=/bin/sed -i "s/maxconn 100000/maxconn 1000/" /etc/haproxy/haproxy.cfg' \
      "ExecReload=/bin/kill -USR2 \$MAINPID" |
    incus file push - "$name/etc/systemd/system/haproxy.service.d/files.conf" -p "${in[@]}" &&
    incus stop -f $name "${in[@]}" && incus publish $name --alias capn-t/haproxy "${in[@]}" -q &&
    incus delete $name "${in[@]}"
}
# Changes to its v0.7 class: `required` in variables, which Cluster API 1.14 needs; no
# kernel modules, which a restricted project forbids; cgroup v1, if the host has it.
switched_template() {
  local cgroup=(-e '')
  if [ -n "$(cgroup_flag)" ]; then
    cgroup=(-e 's/^( *)featureGates:$/\1failCgroupV1: false\n&/'
      -e 's/^( *)nodeRegistration:$/&\n\1  ignorePreflightErrors: [SystemVerification]/')
  fi
  sed -E -e '/^  - name: (loadBalancer|instance|privileged|etcdImageTag|coreDNSImageTag)$/{n;s/^    schema:$/    required: false\n&/}' \
    -e "s/^( *)instanceType: \{\{ .instance.type.*/\1config: {security.nesting: 'true'}\n&/" \
    -e 's/^( *)unprivileged: \{\{ not .privileged.*/\1skipDefaultKubeadmProfile: true\n&/' "${cgroup[@]}"
}
switched_apply() {
  plane_kubectl delete clusterclasses,lxcclustertemplates,lxcmachinetemplates,kubeadmcontrolplanetemplates,kubeadmconfigtemplates --all &&
    KUBERNETES_VERSION=$teams_version LXC_SECRET_NAME=incus LOAD_BALANCER='lxc: {image: capn-t/haproxy}' \
      PRIVILEGED=false WORKER_MACHINE_COUNT=1 CONTROL_PLANE_MACHINE_FLAVOR=c2-m2 WORKER_MACHINE_FLAVOR=c2-m2 \
      LXC_IMAGE_NAME=capn/kubeadm/$teams_version plane_clusterctl generate cluster "$switched" --infrastructure incus |
    switched_template | plane_kubectl apply -f - && plane_within 240 switched_runs 2
}
# switched_runs MACHINES: all have joined. Without a pod network, none of them is Ready.
switched_runs() {
  plane_kubectl get machines -o json |
    jq -e --argjson n "$1" '[.items[] | select(.status.phase == "Running" and .status.nodeRef)] | length == $n'
}
switched_adopted() {
  plane_kubectl get lxcmachines -o json | jq -e 'all(.items[]; any(.status.conditions[]?; .type == "Ready" and .status == "True"))'
}
# Processes and objects that must not change.
switched_state() {
  incus list --project "$teams_project" -f json | jq -r '.[] | "\(.name) \(.state.pid) \(.created_at)"' | sort
  plane_kubectl get lxcmachines,lxcclusters,machines -o json |
    jq -S '[.items[] | {kind, spec, name: .metadata.name, uid: .metadata.uid, finalizers: .metadata.finalizers}]'
}
# keeps COMMAND...: runs the command and checks that nothing was restarted, recreated or changed.
keeps() {
  switched_state >"$plane/before" && "$@" && switched_state >"$plane/after" && diff "$plane/before" "$plane/after"
}
switched_scale() {
  plane_kubectl patch cluster "$switched" --type json \
    -p "[{\"op\": \"replace\", \"path\": \"/spec/topology/workers/machineDeployments/0/replicas\", \"value\": $1}]" &&
    plane_within 120 switched_runs $(($1 + 1))
}
switched_delete() {
  plane_kubectl delete cluster "$switched" --timeout 180s && [ -z "$(teams_instances)" ]
}

check 'an image for the Go provider' switched_image
check 'the Go provider takes over' switch_to_go
check 'it creates a cluster from its own class' switched_apply
check 'capn takes over without restarts or changes' keeps switch_to_capn
check 'capn creates another worker from it' switched_scale 2
check 'the Go provider takes over again without restarts or changes' keeps switch_to_go
check 'it creates another worker' switched_scale 3
check 'switch to capn once more' keeps switch_to_capn
check 'delete the cluster; nothing is left' switched_delete
