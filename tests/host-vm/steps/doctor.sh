# Checks the findings of doctor on this host. Sourced by inside.
# shellcheck shell=bash disable=SC2154,SC2329 # of inside; called by check

capn doctor >"$scratch/doctor.log" 2>&1
sed 's/^/        | /' "$scratch/doctor.log"
no_problem() { ! capn doctor -o json | has '"problem"'; }
check 'doctor finds no problem' no_problem
says() { grep -E "^[a-z]+ +$1 " "$scratch/doctor.log" | has -F "$2"; }
check 'AppArmor is enabled, and doctor reports it' says apparmor 'AppArmor confines instances'
check 'cgroup v2 is detected' says cgroups 'the host has cgroup v2'
# Every test must yield a result; an open escape vector here is either a hole or a false alarm.
for node in $(app_nodes); do
  capn doctor --escape-test "$node" >"$scratch/escape.log" 2>&1
  grep -E '^(open|unknown)|^Error|^Hint| closed$' "$scratch/escape.log" | sed 's/^/        | /'
  holds() { capn doctor --escape-test "$node"; }
  check "no escape vector is open in $node" holds
  check "host-keys and outer-root are closed in $node" \
    bash -c "grep -E '^closed +kernel +host-keys ' '$scratch/escape.log' && grep -E '^closed +processes +outer-root ' '$scratch/escape.log'"
done
