# What doctor says of this host, and whether it is so. Sourced by inside.
# shellcheck shell=bash disable=SC2154,SC2329 # of inside; called by check

capn doctor >"$scratch/doctor.log" 2>&1
sed 's/^/        | /' "$scratch/doctor.log"
no_problem() { ! capn doctor -o json | has '"problem"'; }
check 'doctor finds no problem' no_problem
says() { grep -E "^[a-z]+ +$1 " "$scratch/doctor.log" | has -F "$2"; }
check 'AppArmor is on, and doctor says so' says apparmor 'AppArmor confines instances'
check 'cgroup v2 is seen' says cgroups 'the host has cgroup v2'
# A door that is open, absent or closed is told by its result; an alarm here is either a hole or a false one.
for node in $(app_nodes); do
  capn doctor --escape-test "$node" >"$scratch/escape.log" 2>&1
  grep -E '^(open|unknown)|^Error|^Hint| closed$' "$scratch/escape.log" | sed 's/^/        | /'
  holds() { capn doctor --escape-test "$node"; }
  check "no door is open in $node" holds
  check "host-keys and outer-root are closed in $node" \
    bash -c "grep -E '^closed +kernel +host-keys ' '$scratch/escape.log' && grep -E '^closed +processes +outer-root ' '$scratch/escape.log'"
done
