# stop, start, exec and logs of machines. The caller sets `cluster`, and defines kubectl_of and
# pause_image. Sourced by tests/kubernetes.sh.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

# machines_app: a Deployment with a Service that uses an image of the nodes: CoreDNS with its health endpoint.
machines_app() {
  local image
  image=$(kubectl_of -n kube-system get deployment coredns -o jsonpath='{.spec.template.spec.containers[0].image}') || return 1
  kubectl_of apply -f - <<YAML || return 1
apiVersion: v1
kind: ConfigMap
metadata: {name: answers, namespace: default}
data: {Corefile: ".:5353 {\n  health :8080\n}\n"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: answers, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: answers}}
  template:
    metadata: {labels: {app: answers}}
    spec:
      tolerations: [{operator: Exists}]
      containers:
        - name: answers
          image: $image
          imagePullPolicy: IfNotPresent
          args: [-conf, /etc/coredns/Corefile]
          readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
          volumeMounts: [{name: config, mountPath: /etc/coredns}]
      volumes: [{name: config, configMap: {name: answers}}]
---
apiVersion: v1
kind: Service
metadata: {name: answers, namespace: default}
spec: {selector: {app: answers}, ports: [{port: 80, targetPort: 8080}]}
YAML
  kubectl_of rollout status deployment/answers --timeout 120s && machines_answers
}
# It responds from each node.
machines_answers() {
  local address node
  address=$(kubectl_of get service answers -o jsonpath='{.spec.clusterIP}') || return 1
  for node in $(kubectl_of get nodes -o name | cut -d/ -f2); do
    until_true "an answer at $node" 30 machines_asked "$node" "$address" || return 1
  done
}
machines_asked() {
  capn exec "$1" -- timeout 5 bash -c "exec 3<>/dev/tcp/$2/80 && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && grep -q OK <&3"
}
machines_worker() { kubectl_of get nodes -l '!node-role.kubernetes.io/control-plane' -o name | head -n 1 | cut -d/ -f2; }

machines_exec() {
  local worker out
  worker=$(machines_worker)
  capn exec "$worker" -- sh -c 'exit 7'
  [ $? = 7 ] || { echo 'exit code 7 was not passed on'; return 1; }
  capn exec "$worker" -- /no/such/program 2>/dev/null
  [ $? = 127 ] || { echo 'a program that is not there is not 127'; return 1; }
  out=$(capn exec "$worker" -- sh -c 'echo out; echo bad >&2' 2>"$scratch/exec.err")
  if [ "$out" != out ] || [ "$(cat "$scratch/exec.err")" != bad ]; then echo "streams: $out"; return 1; fi
  # stdin is not read unless requested.
  [ "$(echo secret | capn exec "$worker" -- cat)" = '' ] || return 1
  head -c 3000000 /dev/urandom >"$scratch/blob"
  capn exec -i "$worker" -- sh -c 'cat >/root/blob' <"$scratch/blob" &&
    capn exec "$worker" -- cat /root/blob >"$scratch/blob.back" &&
    cmp "$scratch/blob" "$scratch/blob.back"
}

machines_logs() {
  local pid status=1
  capn logs "$cluster" --unit kubelet --lines 3 >"$scratch/logs" || return 1
  [ "$(grep -c '^\[machine/' "$scratch/logs")" = "$((3 * $(kubectl_of get nodes --no-headers | wc -l)))" ] || { cat "$scratch/logs"; return 1; }
  "$capn_bin" --state-dir "$scratch/state" logs -f "$(machines_worker)" --unit kubelet --lines 1 >"$scratch/follow" &
  pid=$!
  # kubelet logs each start.
  until_true 'the first line' 20 test -s "$scratch/follow" && : >"$scratch/follow" &&
    capn exec "$(machines_worker)" -- systemctl restart kubelet &&
    until_true 'a new line' 20 test -s "$scratch/follow" && status=0
  kill "$pid"
  wait "$pid"
  return $status
}

# Secrets in journals, files of nodes and objects are not in bundles.
machines_bundle() {
  local worker file=$scratch/bundle.tar.gz word key kubeconfig
  worker=$(machines_worker)
  rm -rf "$file" "$scratch/bundle"
  # shellcheck disable=SC2016 # the node expands it
  capn exec "$worker" -- sh -c 'for word in abcdef.0123456789abcdef "password=planted-one" "Bearer planted-two-12345"; do
    systemd-cat -t kubelet echo "$word"; echo "$word" >>/var/log/cloud-init-output.log; done'
  capn logs "$cluster" --bundle "$file" || return 1
  [ "$(stat -c %a "$file")" = 600 ] || return 1
  mkdir "$scratch/bundle" && tar xzf "$file" -C "$scratch/bundle" || return 1
  kubeconfig=$(capn kubeconfig "$cluster")
  key=$(awk '/client-key-data/ {print $2}' <<<"$kubeconfig")
  for word in abcdef.0123456789abcdef planted-one planted-two-12345 "${key:0:60}" "$(base64 -d <<<"$key" | sed -n 3p)" 'PRIVATE KEY'; do
    if grep -rF -- "$word" "$scratch/bundle"; then echo "the bundle has $word"; return 1; fi
  done
  for word in describe.txt events.txt server.yaml missing.txt workload/pods.txt "machines/$worker/kubelet.log" "machines/$worker/cloud-init-output.log"; do
    [ -s "$scratch/bundle/capn-$cluster/$word" ] || { echo "the bundle lacks $word"; return 1; }
  done
  ! capn logs "$cluster" --bundle "$file" 2>/dev/null
}

machines_stopped() {
  local state
  capn stop "$cluster" || return 1
  state=$(incus list -f csv -c s "user.cluster-name=$cluster" | sort -u)
  [ "$state" = STOPPED ] || { echo "instances are $state"; return 1; }
  capn get clusters "$cluster" 2>&1 | has 'capn start' || return 1
  capn describe cluster "$cluster" | has 'is stopped; ' || return 1
  ! capn scale "$cluster" --workers 2 --wait 10s 2>"$scratch/scale.err" || return 1
  has "capn start $cluster" <"$scratch/scale.err" && capn scale "$cluster" --workers 1 --wait 0
}
# The controllers of a served plane do not start anything either. They have reconciled once they report it as paused.
machines_left_alone() {
  local kubectl=("$binaries/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig")
  until_true 'each machine is said to be paused' 30 machines_paused || return 1
  "${kubectl[@]}" annotate lxcmachine --all capn-test=look --overwrite >/dev/null || return 1
  [ "$(incus list -f csv -c s "user.cluster-name=$cluster" | sort -u)" = STOPPED ]
}
machines_paused() {
  "$binaries/kubectl" --kubeconfig "$scratch/state/plane.kubeconfig" get lxcmachine,lxccluster \
    -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="Paused")].status}{"\n"}{end}' >"$scratch/paused" &&
    [ -s "$scratch/paused" ] && ! has -v True "$scratch/paused"
}
machines_started() {
  capn start "$cluster" && machines_answers && capn describe cluster "$cluster" | has '✓ Cluster'
}
# `capn up` starts manually stopped instances at the first attempt.
machines_up() {
  local worker
  worker=$(machines_worker)
  incus stop "$worker" || return 1
  up_kube && machines_answers
}
