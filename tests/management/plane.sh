# A management cluster of plain processes on 127.0.0.1: etcd, kube-apiserver, kube-controller-manager
# and the managers of Cluster API, which clusterctl installs from a directory. Sourced by
# tests/management.sh, which sets `plane` (its directory), `binaries` and `peers`.
# shellcheck shell=bash disable=SC2154

plane_port=16443
# What a run starts, for the next one if this one is killed.
plane_record=${XDG_RUNTIME_DIR:-/run}/capn-t-management.pids
declare -A plane_pids=()

plane_kubectl() { "$binaries/kubectl" --kubeconfig "$plane/kubeconfig" "$@"; }
plane_clusterctl() {
  CLUSTERCTL_DISABLE_VERSIONCHECK=true XDG_CONFIG_HOME=$plane GOPROXY=off CLUSTER_TOPOLOGY=true \
    KUBECONFIG=$plane/kubeconfig "$peers/clusterctl" --config "$plane/clusterctl.yaml" "$@"
}
# plane_run NAME PROGRAM ARGUMENTS...
plane_run() {
  local name=$1
  shift
  "$@" >"$plane/$name.log" 2>&1 </dev/null &
  plane_pids[$name]=$!
  echo "$! $(plane_started $!)" >>"$plane_record"
}
# When a process began, in ticks since the boot: with its pid this names it, also after the pid was used again.
plane_started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
# Ends what a run that was killed started, and nothing else.
plane_leftovers() {
  local pid started
  [ -e "$plane_record" ] || return 0
  while read -r pid started; do
    if [ -n "$started" ] && [ "$(plane_started "$pid")" = "$started" ]; then kill -KILL "$pid"; fi
  done <"$plane_record"
  rm -f "$plane_record"
}
# plane_stop NAME [SIGNAL]
plane_stop() {
  [ -n "${plane_pids[$1]:-}" ] || return 0
  kill "-${2:-TERM}" "${plane_pids[$1]}" 2>/dev/null
  wait "${plane_pids[$1]}" 2>/dev/null
  unset "plane_pids[$1]"
}
plane_answers() { curl -sSf --noproxy '*' "$1"; }
# plane_within SECONDS COMMAND... : on timeout, prints the ends of all logs.
plane_within() {
  local seconds=$1
  shift
  until_true "$*" "$seconds" "$@" || { tail -n 4 "$plane"/*.log; return 1; }
}

plane_key() { openssl ecparam -genkey -name prime256v1 -noout -out "$plane/$1.key"; }
plane_ca() {
  plane_key "$1" && openssl req -x509 -new -key "$plane/$1.key" -subj "/CN=$1" -days 30 -out "$plane/$1.crt"
}
# plane_certificate CA NAME SUBJECT [NAMES]
plane_certificate() {
  plane_key "$2" &&
    openssl req -new -key "$plane/$2.key" -subj "$3" -out "$plane/$2.csr" &&
    openssl x509 -req -in "$plane/$2.csr" -CA "$plane/$1.crt" -CAkey "$plane/$1.key" -CAcreateserial \
      -days 30 -out "$plane/$2.crt" -extfile <(printf '%s\n' keyUsage=digitalSignature \
      extendedKeyUsage=serverAuth,clientAuth ${4:+"subjectAltName=$4"})
}
# plane_kubeconfig FILE CREDENTIALS...
plane_kubeconfig() {
  local file=$1
  shift
  plane_config() { "$binaries/kubectl" --kubeconfig "$file" config "$@" >/dev/null; }
  rm -f "$file"
  plane_config set-cluster plane --server "https://127.0.0.1:$plane_port" \
    --certificate-authority "$plane/ca.crt" --embed-certs=true &&
    plane_config set-credentials user "$@" &&
    plane_config set-context plane --cluster plane --user user &&
    plane_config use-context plane && chmod 600 "$file"
}
# plane_account NAMESPACE ACCOUNT FILE: a kubeconfig with exactly the permissions of a service account.
plane_account() {
  local token
  token=$(plane_kubectl -n "$1" create token "$2" --duration 4h) && plane_kubeconfig "$3" "--token=$token"
}

plane_kubernetes() {
  local etcd=http://127.0.0.1:16379 name
  mkdir -p "$plane/webhook" && chmod 700 "$plane"
  plane_ca ca && plane_ca webhook-ca &&
    plane_certificate ca apiserver /CN=kube-apiserver IP:127.0.0.1,IP:10.96.0.1,DNS:localhost &&
    plane_certificate ca admin /O=system:masters/CN=admin &&
    plane_certificate ca controllers /CN=system:kube-controller-manager &&
    plane_certificate webhook-ca webhook /CN=webhook IP:127.0.0.1,DNS:localhost &&
    openssl genrsa -out "$plane/sa.key" 2048 && openssl rsa -in "$plane/sa.key" -pubout -out "$plane/sa.pub" &&
    cp "$plane/webhook.crt" "$plane/webhook/tls.crt" && cp "$plane/webhook.key" "$plane/webhook/tls.key" || return 1
  for name in admin controllers; do
    plane_kubeconfig "$plane/$name.kubeconfig" --client-certificate "$plane/$name.crt" \
      --client-key "$plane/$name.key" --embed-certs=true || return 1
  done
  cp "$plane/admin.kubeconfig" "$plane/kubeconfig"

  plane_run etcd "$binaries/etcd" --data-dir "$plane/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls $etcd --advertise-client-urls $etcd \
    --listen-peer-urls http://127.0.0.1:16380 --initial-advertise-peer-urls http://127.0.0.1:16380 \
    --initial-cluster default=http://127.0.0.1:16380
  plane_within 30 plane_answers $etcd/health || return 1
  plane_run apiserver "$binaries/kube-apiserver" --etcd-servers $etcd --bind-address 127.0.0.1 \
    --secure-port $plane_port --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/16 \
    --authorization-mode Node,RBAC --cert-dir "$plane" --client-ca-file "$plane/ca.crt" \
    --tls-cert-file "$plane/apiserver.crt" --tls-private-key-file "$plane/apiserver.key" \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$plane/sa.pub" --service-account-signing-key-file "$plane/sa.key"
  plane_within 90 plane_kubectl get --raw /readyz || return 1
  plane_run controllers "$binaries/kube-controller-manager" --kubeconfig "$plane/controllers.kubeconfig" \
    --authentication-kubeconfig "$plane/controllers.kubeconfig" \
    --authorization-kubeconfig "$plane/controllers.kubeconfig" --bind-address 127.0.0.1 \
    --secure-port 16457 --cert-dir "$plane" --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file "$plane/sa.key" --root-ca-file "$plane/ca.crt"
  plane_within 60 plane_kubectl -n default get serviceaccount default
}

# Objects that make clusterctl assume cert-manager is installed. Nothing runs behind them.
plane_certificate_kinds() {
  local kind
  for kind in Issuer Certificate; do
    cat <<YAML
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ${kind,,}s.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {kind: $kind, listKind: ${kind}List, plural: ${kind,,}s, singular: ${kind,,}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
YAML
  done
}
# plane_provider NAME TYPE DIRECTORY: the newest version in a clusterctl repository.
plane_provider() {
  local file
  file=$(find "$3" -name '*-components.yaml' | sort -V | tail -n 1)
  printf -- '- {name: %s, type: %s, url: "file://%s"}\n' "$1" "$2" "$file"
}
plane_repositories() {
  echo providers:
  plane_provider cluster-api CoreProvider "$peers/repo/cluster-api"
  plane_provider kubeadm BootstrapProvider "$peers/repo/bootstrap-kubeadm"
  plane_provider kubeadm ControlPlaneProvider "$peers/repo/control-plane-kubeadm"
  plane_provider incus InfrastructureProvider "$1"
}

plane_webhooks='{"capi-system": 16441, "capi-kubeadm-bootstrap-system": 16442, "capi-kubeadm-control-plane-system": 16444}'
# Redirects webhooks from pods to local processes: same objects with changed URLs.
plane_to_urls() {
  jq -c --arg ca "$(base64 -w0 <"$plane/webhook-ca.crt")" --argjson ports "$plane_webhooks" '
    walk(if type == "object" and (.service.path? // null) != null and $ports[.service.namespace] then
      {url: "https://127.0.0.1:\($ports[.service.namespace])\(.service.path)", caBundle: $ca} else . end)'
}
plane_cluster_api() {
  plane_repositories "$1" >"$plane/clusterctl.yaml"
  plane_certificate_kinds | plane_kubectl apply -f - &&
    plane_kubectl wait --for condition=Established --timeout 30s crd/issuers.cert-manager.io \
      crd/certificates.cert-manager.io &&
    plane_clusterctl init --core cluster-api --bootstrap kubeadm --control-plane kubeadm || return 1
  local namespace
  for namespace in capi-system capi-kubeadm-bootstrap-system capi-kubeadm-control-plane-system; do
    plane_kubectl -n $namespace scale deployment --all --replicas 0 || return 1
  done
  plane_kubectl get crds,mutatingwebhookconfigurations,validatingwebhookconfigurations \
    -l clusterctl.cluster.x-k8s.io -o json | plane_to_urls | plane_kubectl replace -f - || return 1
  plane_within 30 plane_aggregated &&
    plane_manager core cluster-api-core-manager capi-system capi-manager 16441 &&
    plane_manager bootstrap kubeadm-bootstrap-manager capi-kubeadm-bootstrap-system \
      capi-kubeadm-bootstrap-manager 16442 &&
    plane_manager control-plane kubeadm-control-plane-manager capi-kubeadm-control-plane-system \
      capi-kubeadm-control-plane-manager 16444 &&
    plane_within 90 plane_answers http://127.0.0.1:16451/readyz &&
    plane_within 90 plane_answers http://127.0.0.1:16452/readyz &&
    plane_within 90 plane_answers http://127.0.0.1:16454/readyz
}
plane_aggregated() {
  plane_kubectl get clusterrole capi-aggregated-manager-role -o json | jq -e '.rules | length > 0'
}
# plane_manager NAME PROGRAM NAMESPACE ACCOUNT WEBHOOKS: its probe port is ten higher.
plane_manager() {
  local gates
  plane_account "$3" "$4" "$plane/$1.kubeconfig" || return 1
  gates=$(plane_kubectl -n "$3" get deployments -o json |
    jq -r '.items[0].spec.template.spec.containers[0].args[] | select(startswith("--feature-gates="))')
  CAPI_WEBHOOK_HOST=127.0.0.1 plane_run "$1" "$peers/$2" --kubeconfig "$plane/$1.kubeconfig" "$gates" \
    --leader-elect=false --webhook-port "$5" --webhook-cert-dir "$plane/webhook" \
    --health-addr "127.0.0.1:$(($5 + 10))" --diagnostics-address 0
}

plane_down() {
  local name
  for name in "${!plane_pids[@]}"; do
    case $name in etcd | apiserver) ;; *) plane_stop "$name" ;; esac
  done
  plane_stop apiserver
  plane_stop etcd
}
