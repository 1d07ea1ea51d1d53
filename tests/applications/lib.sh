# Deploys an application and checks that its Services and DNS names respond from everywhere.
# The caller sets `cluster`. Sourced by sections of ./test.
# shellcheck shell=bash disable=SC2154,SC2016 # scratch and capn_bin are set by ./test

app_kubectl() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/clusters/$cluster.kubeconfig" "$@"; }
# Leftovers of a killed run.
app_leftovers() { instances_of "$cluster" | xargs -r incus delete --force; }
app_nodes() { instances_of "$cluster" | grep -v -- '-lb$'; }
app_agnhost() { cut -d' ' -f1 <<<"$(grep '/agnhost:' "$test_images.names" | tail -n 1)"; }

# Loads the test images into every node of the cluster.
app_images() {
  local node
  for node in $(app_nodes); do
    incus exec "$node" -- ctr -n k8s.io images import - <"$test_images" || return 1
  done
}
app_deploy() {
  sed "s|AGNHOST|$(app_agnhost)|" tests/applications/app.yaml | app_kubectl apply -f - && app_settled
}
app_settled() {
  local what
  for what in deployment/web deployment/one statefulset/db daemonset/client; do
    app_kubectl rollout status "$what" --timeout $((180 * patience))s || return 1
  done
  # Wait for as many endpoints as replicas: a Ready pod is not yet an endpoint of its Service.
  app_endpoints web "$(app_kubectl get deployment web -o jsonpath='{.spec.replicas}')"
}
app_has_endpoints() {
  [ "$(app_kubectl get endpointslices -l kubernetes.io/service-name="$1" \
    -o jsonpath='{range .items[*].endpoints[?(@.conditions.ready==true)]}x{end}' | wc -c)" = "$2" ]
}
app_endpoints() { until_true "$2 endpoints of Service $1" 60 app_has_endpoints "$1" "$2"; }
app_ip() { app_kubectl get service "$1" -o jsonpath='{.spec.clusterIP}'; }
app_clients() { app_kubectl get pods -l app=client -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}'; }
app_addresses() { app_kubectl get nodes -o jsonpath='{range .items[*]}{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}'; }
# app_in POD COMMAND
app_in() { local pod=$1; shift; app_kubectl exec "$pod" -- bash -c "$*" </dev/null; }

# Names of the replicas that respond to N requests to URL from a pod, without duplicates.
app_answers() { app_in "$1" "for i in \$(seq $3); do curl -sS -m $((5 * patience)) $2/hostname || exit 1; echo; done" | sort -u; }
# app_reaches_all FROM URL N : each of N replicas responds.
app_reaches_all() {
  local answered
  answered=$(app_answers "$1" "$2" $(($3 * 15)) | grep -c .)
  [ "$answered" = "$3" ] || { echo "$1 reaches $answered of $3 replicas at $2"; return 1; }
}
# From pods on every node, at the Service's address and by its DNS name.
app_from_pods() {
  local pod
  for pod in $(app_clients); do
    app_reaches_all "$pod" "http://$(app_ip web):80" "$1" || return 1
    app_reaches_all "$pod" http://web.default.svc.cluster.local "$1" || return 1
  done
}
# HTTP without a client program, since nodes have none.
app_get='exec 3<>/dev/tcp/$0/$1 && printf "GET $2 HTTP/1.0\r\n\r\n" >&3 && timeout '$((5 * patience))' cat <&3 | tail -n 1'
app_from_nodes() {
  local node answered
  for node in $(app_nodes); do
    answered=$(for _ in $(seq $(($1 * 12))); do incus exec "$node" -- bash -c "$app_get" "$(app_ip web)" 80 /hostname </dev/null; echo; done | grep . | sort -u | grep -c web)
    [ "$answered" = "$1" ] || { echo "$node reaches $answered of $1 replicas at $(app_ip web)"; return 1; }
  done
}
# From this machine, at the node port of each node.
app_from_host() {
  local address answered
  for address in $(app_addresses); do
    answered=$(for _ in $(seq $(($1 * 12))); do bash -c "$app_get" "$address" 30080 /hostname; echo; done | grep . | sort -u | grep -c web)
    [ "$answered" = "$1" ] || { echo "this machine reaches $answered of $1 replicas at $address:30080"; return 1; }
  done
}
app_scale() { app_kubectl scale deployment web --replicas "$1" && app_settled; }
# Nodes are checked after pods: kube-proxy needs a moment on each node to apply
# endpoint changes.
app_everywhere() { app_from_pods "$1" && app_from_nodes "$1" && app_from_host "$1"; }
app_with() { app_scale "$1" && app_within 60 "$1 replicas answer pods, nodes and this machine" app_everywhere "$1"; }
# app_within SECONDS WHAT COMMAND... : prints the output of the last attempt.
app_within() {
  local seconds=$1 what=$2 said=$scratch/said
  shift 2
  # shellcheck disable=SC2317 # called by until_true
  app_try() { "$@" >"$said" 2>&1; }
  until_true "$what" "$seconds" app_try "$@" || { cat "$said"; return 1; }
}
# Many replicas: enough requests that nearly every replica responds.
app_most() {
  local answered
  answered=$(app_answers "$(app_clients | head -n 1)" "http://$(app_ip web)" $(($1 * 5)) | grep -c .)
  [ "$answered" -ge $(($1 - 2)) ] || { echo "$answered of $1 replicas answer"; return 1; }
}
app_with_many() { app_scale "$1" && app_within 60 "$1 replicas answer" app_most "$1"; }
app_udp() {
  local pod
  for pod in $(app_clients); do
    app_in "$pod" "exec 3<>/dev/udp/$(app_ip web)/81; echo hostname >&3; timeout $((3 * patience)) head -c 1 <&3" | has w ||
      { echo "$pod gets no answer over UDP"; return 1; }
  done
}
app_sticky() {
  local pod
  pod=$(app_clients | head -n 1)
  [ "$(app_answers "$pod" "http://$(app_ip web-sticky)" 20 | grep -c .)" = 1 ]
}
# Local: only the node with the pod responds, and the pod sees the client address.
app_local() {
  local node address holder seen answered=0
  holder=$(app_kubectl get pods -l app=one -o jsonpath='{.items[0].status.hostIP}')
  for address in $(app_addresses); do
    seen=$(timeout $((3 * patience)) bash -c "$app_get" "$address" 30090 /clientip 2>/dev/null)
    if [ -n "$seen" ]; then
      answered=$((answered + 1))
      [ "$address" = "$holder" ] || { echo "$address has no pod and answers"; return 1; }
      ip -o addr | has -F " ${seen%:*}/" || { echo "the pod sees ${seen%:*}, not this machine"; return 1; }
    fi
  done
  [ "$answered" = 1 ]
}
app_names() {
  local pod address
  for pod in $(app_clients); do
    address=$(app_kubectl get pod db-0 -o jsonpath='{.status.podIP}')
    if [ "$(app_in "$pod" dig +short kubernetes.default.svc.cluster.local)" != "$(app_ip kubernetes)" ] ||
      [ "$(app_in "$pod" dig +short db-0.db.default.svc.cluster.local)" != "$address" ] ||
      [ "$(app_in "$pod" dig +short +tcp db.default.svc.cluster.local | wc -l)" != 2 ]; then
      echo "$pod does not get the names right"
      return 1
    fi
  done
}
app_job() { app_kubectl wait --for=condition=complete job/once --timeout $((60 * patience))s && app_kubectl logs job/once | has -x "$(app_ip kubernetes)"; }
app_ready() { [ "$(app_kubectl get nodes --no-headers | grep -c ' Ready ')" = "$(app_nodes | wc -l)" ]; }
# The node remains Ready until the cluster notices, so repeat all checks until they pass.
app_again() { app_ready && app_settled && app_everywhere 3 && app_names && "$@"; }
# app_restarted COMMAND... : restarts a node with a pod of Service `one`; also runs the command.
app_restarted() {
  local node
  node=$(app_kubectl get pods -l app=one -o jsonpath='{.items[0].spec.nodeName}')
  incus restart "$node" && app_within 180 'every Service and DNS name responds again' app_again "$@"
}

# try_application : runs all checks.
try_application() {
  check 'deploy an application: Deployment, StatefulSet, Job, DaemonSet' app_deploy || return 1
  check 'a Job has completed, and its log contains the DNS response' app_job
  check 'DNS answers for kubernetes, for a StatefulSet and its pods, over UDP and TCP' app_names
  check 'a Service with 1 endpoint responds to pods, nodes and this machine' app_with 1
  check 'a Service with 2 endpoints: each responds to pods, nodes and this machine' app_with 2
  if [ "$patience" -gt 1 ]; then
    skip 'a Service with 20 endpoints' 'this machine is too slow for so many pods'
  else
    check 'a Service with 20 endpoints' app_with_many 20
  fi
  check 'a Service with 3 endpoints: each responds to pods, nodes and this machine' app_with 3
  check 'a Service over UDP' app_udp
  check 'session affinity keeps a client at one endpoint' app_sticky
  check 'externalTrafficPolicy Local: the node with the pod responds, and the pod sees the client address' app_local
}
