# `capn manager` as a process of its own: two copies beside `capn serve`, on a real Incus. Sourced by
# ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

manager_state=$scratch/manager
manager_kubeconfig=$manager_state/state/plane.kubeconfig
managers=()

manager_serve() {
  "$capn_bin" --state-dir "$manager_state/state" serve --without-provider --listen 127.0.0.1:16543 \
    >"$manager_state/serve.log" 2>&1 &
  managers+=($!)
  wait_for 60 'the plane answers' kube get --raw /readyz
}
kube() { kubectl --kubeconfig "$manager_kubeconfig" "$@"; }
# manager_start NAME PORT: a copy with its probes at that port and its metrics at the next.
manager_start() {
  HOSTNAME=$1 "$capn_bin" manager --kubeconfig "$manager_state/manager.kubeconfig" --leader-elect \
    --leader-election-namespace default --leader-elect-lease-duration=6s --leader-elect-renew-deadline=4s \
    --leader-elect-retry-period=500ms --health-addr "127.0.0.1:$2" \
    --diagnostics-address "127.0.0.1:$(($2 + 1))" --insecure-diagnostics --logging-format json \
    >"$manager_state/$1.log" 2>&1 &
  managers+=($!)
}
leader() { kube get lease controller-leader-election-capn -n default -o jsonpath='{.spec.holderIdentity}'; }
leads() { leader | has "^$1_"; }
answers() { curl -sf --noproxy '*' "http://127.0.0.1:$1$2"; }
