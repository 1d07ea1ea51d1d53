# Requests from the API server to kubelets: logs, exec, port-forward. Sourced by sections of ./test.
# shellcheck shell=bash disable=SC2154,SC2016 # scratch is set by the caller

streams_logs() {
  local pod
  for pod in $(app_kubectl get pods -l app=web -o name); do app_kubectl logs "$pod" | has -i http || return 1; done
}
streams_exec() {
  local pod
  for pod in $(app_clients); do
    [ "$(app_kubectl exec "$pod" -- bash -c 'hostname; exit 0' </dev/null)" = "$pod" ] || return 1
    app_kubectl exec -i "$pod" -- bash -c 'read -r line && [ "$line" = asked ] && exit 7' <<<asked
    [ $? = 7 ] || { echo "the exit code of $pod is lost"; return 1; }
  done
}
streams_forwarded() { [[ "$(bash -c "$app_get" 127.0.0.1 "$1" /hostname)" = web-* ]]; }
streams_forward() {
  local port pid result=0
  app_kubectl port-forward service/web :80 >"$scratch/forward.log" 2>&1 &
  pid=$!
  until_true 'port-forward listens' 20 grep -q '^Forwarding from 127' "$scratch/forward.log" || result=1
  port=$(sed -nE 's/^Forwarding from 127.0.0.1:([0-9]+) .*/\1/p' "$scratch/forward.log")
  [ $result = 1 ] || until_true 'a replica answers at the forwarded port' 20 streams_forwarded "$port" || result=1
  kill "$pid"
  wait "$pid" 2>/dev/null
  [ $result = 0 ] || cat "$scratch/forward.log"
  return $result
}
try_streams() {
  check 'logs of every replica are read' streams_logs
  check 'exec on every node: output, input and exit code' streams_exec
  check 'port-forward to a Service' streams_forward
}
