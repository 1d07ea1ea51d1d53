# Deploys pods on every node and checks that they reach each other. The caller sets `cluster`.
# Sourced by sections of ./test.
# shellcheck shell=bash disable=SC2154,SC2016 # scratch and kubernetes are set by ./test

net_kubectl() { "$kubernetes/kubectl" --kubeconfig "$scratch/state/clusters/$cluster.kubeconfig" "$@"; }
net_nodes() { instances_of "$cluster" | grep -v -- '-lb$'; }
# Leftovers of a killed run.
net_leftovers() { instances_of "$cluster" | xargs -r incus delete --force; }
net_ready() { [ "$(net_kubectl get nodes --no-headers | grep -c ' Ready ')" = "$(net_nodes | wc -l)" ]; }

# CoreDNS, whose image every node has, as a web server on each node: /health returns OK, and /metrics
# does not fit into one packet. With a Service with the given ipFamilyPolicy.
net_deploy() {
  local image
  image=$(net_kubectl -n kube-system get deployment coredns -o jsonpath='{.spec.template.spec.containers[0].image}') || return 1
  net_kubectl apply -f - <<YAML || return 1
apiVersion: v1
kind: ConfigMap
metadata: {name: probe}
data:
  Corefile: |
    .:5300 {
      health :8080 {
        lameduck 0s
      }
      prometheus :9153
    }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
      - name: probe
        image: $image
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: config, mountPath: /etc/coredns}]
      volumes: [{name: config, configMap: {name: probe}}]
---
apiVersion: v1
kind: Service
metadata: {name: probe}
spec:
  ipFamilyPolicy: $1
  selector: {app: probe}
  ports: [{name: health, port: 80, targetPort: 8080}, {name: metrics, port: 9153}]
YAML
  net_kubectl rollout status daemonset/probe --timeout 120s
}

# `NODE ADDRESS` of each pod, for each of its addresses.
net_pods() {
  net_kubectl get pods -l app=probe -o jsonpath='{range .items[*]}{.spec.nodeName}{range .status.podIPs[*]} {.ip}{end}{"\n"}{end}' |
    awk '{ for (at = 2; at <= NF; at++) print $1, $at }'
}
# The addresses of the Service, one per line.
net_service() { net_kubectl get service probe -o jsonpath='{range .spec.clusterIPs[*]}{@}{"\n"}{end}'; }
net_is_v6() { case $1 in *:*) return 0 ;; *) return 1 ;; esac; }
# net_namespace NODE ADDRESS : name of the pod's network namespace in the node.
net_namespace() {
  incus exec "$1" -- sh -c 'for name in $(ip netns list | cut -d" " -f1); do
    if ip -o -n "$name" addr | grep -q " $0/"; then echo "$name"; fi
  done' "$2" </dev/null
}

# net_get ADDRESS COMMAND... : downloads a long page from the web server at ADDRESS; COMMAND is a prefix that
# runs programs elsewhere. Nodes and pods have no client program.
net_get='exec 3<>"/dev/tcp/$0/$1" && printf "GET $2 HTTP/1.0\r\n\r\n" >&3 && cat <&3'
net_answers() {
  local address=$1 metrics=$2 health=$3 said
  shift 3
  said=$("$@" timeout 5 bash -c "$net_get" "$address" "$health" /health </dev/null 2>&1 | tail -n 1)
  [ "$said" = OK ] || { echo "$*: $address does not answer: $said"; return 1; }
  said=$("$@" timeout 5 bash -c "$net_get" "$address" "$metrics" /metrics </dev/null 2>&1 | wc -c)
  [ "$said" -gt 4000 ] || { echo "$*: $address sends $said bytes of a long page"; return 1; }
}
net_pod_answers() { local address=$1; shift; net_answers "$address" 9153 8080 "$@"; }
net_service_answers() { local address=$1; shift; net_answers "$address" 9153 80 "$@"; }

# From each pod's network to the pod on the other node, at each of its addresses.
net_across() {
  local node own other address network tried=0
  while read -r node own; do
    network=$(net_namespace "$node" "$own")
    [ -n "$network" ] || { echo "$node has no network of a pod with $own"; return 1; }
    while read -r other address; do
      if [ "$other" = "$node" ] || [ "$(net_is_v6 "$own"; echo $?)" != "$(net_is_v6 "$address"; echo $?)" ]; then continue; fi
      net_pod_answers "$address" incus exec "$node" -- ip netns exec "$network" || return 1
      tried=$((tried + 1))
    done < <(net_pods)
  done < <(net_pods)
  [ "$tried" -ge "$1" ] || { echo "only $tried pairs of pods were tried"; return 1; }
}
# To each address of the Service, from every node and from the pods on it.
net_everywhere() {
  local node own address network tried=0
  while read -r node own; do
    network=$(net_namespace "$node" "$own")
    [ -n "$network" ] || { echo "$node has no network of a pod with $own"; return 1; }
    for address in $(net_service); do
      # Twice as many requests as endpoints, so that each gets one.
      for _ in 1 2 3 4; do
        net_service_answers "$address" incus exec "$node" -- || return 1
        net_service_answers "$address" incus exec "$node" -- ip netns exec "$network" || return 1
      done
      tried=$((tried + 1))
    done
  done < <(net_pods | awk '!seen[$1]++')
  [ "$tried" -ge "$1" ] || { echo "only $tried pairs of a node and an address were tried"; return 1; }
}
# net_within SECONDS WHAT COMMAND... : waits for success; prints the output of the last attempt.
net_within() {
  local seconds=$1 what=$2 said=$scratch/said
  shift 2
  # shellcheck disable=SC2317,SC2329 # called by until_true
  net_try() { "$@" >"$said" 2>&1; }
  until_true "$what" "$seconds" net_try "$@" || { cat "$said"; return 1; }
}
