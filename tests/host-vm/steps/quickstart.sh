# The quickstart command on a stock machine. Sourced by inside.
# shellcheck shell=bash disable=SC2154,SC2119,SC2120 # of inside; quick is called by check

stock() {
  uname -r
  [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] && [ -d /run/systemd/system ] &&
    [ "$(cat /sys/module/apparmor/parameters/enabled)" = Y ] && ! grep -qE '^[^ ]+ [^ ]+ cgroup ' /proc/mounts
}
check 'systemd, cgroup v2 alone, AppArmor' stock
# shellcheck disable=SC2046 # flags
quick() { CAPN_BIN=$capn_bin ./quickstart --yes --kubernetes-binaries "$kubernetes" "$@" -- $(wait_flags 10); }
# Leftovers of a failed run: such a cluster does not continue by itself.
if [ -d "$HOME/.local/state/capn" ] && capn get clusters -o name 2>/dev/null | has -x demo && ! demo_ready; then
  check 'delete a cluster left by a failed run' capn delete cluster demo
fi
comes_up() { quick 2>&1 | tee "$scratch/quick.log" && has 'capn delete cluster demo' "$scratch/quick.log"; }
check 'quickstart creates a cluster and prints the next commands' comes_up || return 0
sed 's/^/        | /' "$scratch/quick.log"
printf '        | kernel %s, systemd %s, Incus %s, AppArmor %s\n' "$(uname -r)" "$(systemctl --version | awk 'NR == 1 {print $2}')" \
  "$(incus version 2>/dev/null | sed -n 's/^Server version: //p')" "$(dpkg-query -W -f '${Version}' apparmor)"
# shellcheck disable=SC2329 # called by check
unprivileged() {
  local node
  for node in $(instances_of demo); do
    [ "$(incus config get "$node" security.privileged)" != true ] || { echo "$node is privileged"; return 1; }
    incus exec "$node" -- sh -c '! grep -qE "^ *0 +0 " /proc/self/uid_map' || { echo "root of $node is the host's"; return 1; }
  done
}
check 'every instance is unprivileged' unprivileged
ready() { until_true 'two nodes are Ready' 60 demo_ready; }
check 'two nodes are Ready' ready
# shellcheck disable=SC2329 # called by check
unchanged() { quick 2>&1 | has 'nothing was changed'; }
check 'quickstart again changes nothing and reports it' unchanged
# shellcheck disable=SC2329 # called by check
confined() {
  local node
  for node in $(instances_of demo); do
    has -F "incus-${node}_" "/proc/$(incus info "$node" | sed -n 's/^PID: //p')/attr/current" || { echo "$node is not confined"; return 1; }
  done
}
check 'nodes run under a separate AppArmor profile' confined
