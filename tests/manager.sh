# `capn manager` as separate processes: replicas next to `capn serve`, with exactly the shipped
# permissions, on a real Incus. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

managed=$scratch/manager
managed_cluster=capn-t-managed
manager_user=system:serviceaccount:capn-system:capn-manager
mkdir -p "$managed"
declare -A copies=()

managed_capn() { "$capn_bin" --state-dir "$managed/state" "$@"; }
kube() { kubectl --kubeconfig "$managed/state/plane.kubeconfig" "$@"; }
serve_alone() {
  # Not through the function: the process to kill later must be the program, not a shell.
  "$capn_bin" --state-dir "$managed/state" serve --without-provider --listen 127.0.0.1:16543 >"$managed/serve.log" 2>&1 &
  copies[serve]=$!
  within 60 kube get --raw /readyz
}
# within SECONDS COMMAND...: waits until the command succeeds; on timeout, prints the ends of all logs.
within() {
  local seconds=$1
  shift
  until_true "$*" "$seconds" "$@" || { tail -n 5 "$managed"/*.log; return 1; }
}

permissions() {
  managed_capn generate provider >"$managed/components.yaml" || return 1
  # The plane has neither Deployments nor a kubelet; only the manager's permissions are used.
  awk 'BEGIN { RS = "---\n"; ORS = "---\n" } /\nkind: (Namespace|ServiceAccount|Role|ClusterRole|RoleBinding|ClusterRoleBinding)\n/' \
    "$managed/components.yaml" >"$managed/permissions.yaml"
  kube apply -f "$managed/permissions.yaml" || return 1
  # It creates machines of LXCMachinePools, but neither creates nor deletes clusters and Secrets.
  may patch lxcmachines/status && may create lxcmachines && ! may create lxcclusters && ! may delete lxcclusters &&
    ! may create clusters.cluster.x-k8s.io && ! may delete secrets && ! may update secrets &&
    may get secrets && ! may list secrets && ! may watch secrets
}
may() { kube auth can-i "$@" -A --as $manager_user; }
act_as() {
  kube config view --raw -o json | python3 -c '
import json, sys
config = json.load(sys.stdin)
for user in config["users"]:
    user["user"]["as"] = sys.argv[1]
json.dump(config, sys.stdout)' $manager_user >"$managed/manager.kubeconfig" && chmod 600 "$managed/manager.kubeconfig"
}
# copy NAME PORT: a manager with its probes on that port and its metrics on the next one.
copy() {
  HOSTNAME=$1 "$capn_bin" manager --kubeconfig "$managed/manager.kubeconfig" --leader-elect \
    --leader-election-namespace capn-system --leader-elect-lease-duration=6s \
    --leader-elect-renew-deadline=4s --leader-elect-retry-period=500ms --logging-format json \
    --health-addr "127.0.0.1:$2" --diagnostics-address "127.0.0.1:$(($2 + 1))" --insecure-diagnostics \
    >"$managed/$1.log" 2>&1 &
  copies[$1]=$!
}
leads() {
  kube get lease controller-leader-election-capn -n capn-system -o jsonpath='{.spec.holderIdentity}' | has "^$1_"
}
answer() { python3 -c 'import sys, urllib.request as r; sys.stdout.write(r.build_opener(r.ProxyHandler({})).open(sys.argv[1]).read().decode())' "http://127.0.0.1:$1$2"; }

one_leads() {
  copy one 19440 && within 60 leads one && copy two 19450 && within 60 answer 19450 /readyz &&
    leads one && answer 19441 /metrics | has '^leader_election_master_status 1' &&
    answer 19451 /metrics | has '^leader_election_master_status 0'
}
makes() { managed_capn up "$managed_cluster" --bootstrap none --workers 1 --wait 5m; }
measures() { answer 19441 /metrics | has '^capn_instances{role="worker",state="running"} 1'; }
# The leader is killed while it creates a machine; nothing is created twice.
killed() {
  managed_capn scale "$managed_cluster" --workers 2 --wait 5m >"$managed/scale.log" 2>&1 &
  local scaling=$!
  within 60 two_workers || return 1
  kill -KILL "${copies[one]}"
  within 60 leads two && wait $scaling && two_workers
}
two_workers() { [ "$(instances_of "$managed_cluster" | grep -c md-0)" = 2 ]; }
handed_over() {
  copy three 19460 && within 60 answer 19460 /readyz || return 1
  kill -TERM "${copies[two]}" && wait "${copies[two]}" && within 3 leads three
}
without_permission() {
  kube delete clusterrolebinding -l cluster.x-k8s.io/provider=infrastructure-incus &&
    copy four 19470 && kill -TERM "${copies[three]}" && wait "${copies[three]}" &&
    within 60 has 'watch failed.*cannot list resource' "$managed/four.log" &&
    kube apply -f "$managed/permissions.yaml"
}
taken_address() {
  ! "$capn_bin" manager --kubeconfig "$managed/manager.kubeconfig" --health-addr 127.0.0.1:19470 2>"$managed/taken" &&
    has 'cannot listen on 127.0.0.1:19470 for health probes' "$managed/taken"
}
removes() { managed_capn delete cluster "$managed_cluster" && [ -z "$(instances_of "$managed_cluster")" ]; }
all_end() {
  kill -TERM "${copies[four]}" && wait "${copies[four]}" && kill -TERM "${copies[serve]}" && wait "${copies[serve]}"
}

check 'serve a plane without the provider' serve_alone &&
  check 'apply the shipped permissions' permissions &&
  check 'a kubeconfig impersonates the service account' act_as &&
  check 'one of two replicas leads' one_leads &&
  check 'create a cluster through it' makes &&
  check 'its metrics cover the machines' measures &&
  check 'when the leader is killed, the other replica continues and nothing is created twice' killed &&
  check 'a terminated replica hands over leadership at once' handed_over &&
  check 'a missing permission is reported' without_permission &&
  check 'an address in use is reported' taken_address &&
  check 'delete the cluster through it' removes &&
  check 'all processes stop on request' all_end
for copy in "${!copies[@]}"; do kill -KILL "${copies[$copy]}" 2>/dev/null; done
