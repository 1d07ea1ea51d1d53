# Escape vectors of nodes created by `capn up`, in the three isolation modes. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

cluster=capn-t-escape
node() { instances_of "$cluster" | grep -v -- '-lb$' | head -n 1; }
# Open escape vectors of a node, one per line; the command itself fails if there are any.
open_doors() { capn doctor --escape-test "$(node)" -o name || true; }
tried() { [ "$(capn doctor --escape-test "$(node)" -o json 2>/dev/null | grep -c '"result"')" -ge 40 ]; }

# An lxcfs before 6.0 that is not read-only leaves one vector open, which doctor must report.
known=''
# It fails on any problem of this host, which does not matter here.
if { capn doctor --allow-cgroup-v1 -o name 2>/dev/null || true; } | has -x lxcfs-writes; then
  known=processors-offline
  skip 'the lxcfs escape vector is closed' 'this host has an lxcfs that lets nodes write: fix it with capn doctor --fix'
fi
none_open() {
  local doors
  doors=$(open_doors)
  [ "$doors" = "$known" ] || { echo "open: $doors"; return 1; }
}
node_up() {
  # shellcheck disable=SC2046 # flags
  capn up "$cluster" --bootstrap none --workers 0 --isolation "$1" $(wait_flags 5)
}
for isolation in shared isolated; do
  check "create a node ($isolation)" node_up $isolation
  check "at least 40 escape vectors are tested ($isolation)" tried
  check "no escape vector is open ($isolation)" none_open
  if [ -z "$known" ]; then
    check "the escape test succeeds ($isolation)" capn doctor --escape-test "$(node)"
  fi
  check "delete the cluster ($isolation)" capn delete cluster "$cluster"
done

check 'create a node (privileged)' node_up privileged
settings_of_host() { cat /proc/sys/kernel/{panic,printk,core_pattern} /proc/sys/vm/swappiness /sys/devices/system/cpu/online; }
settings_of_host >"$scratch/before"
must_be_open() {
  local doors door
  doors=$(open_doors)
  for door in user-map-host-root initial-user-namespace sysctl-kernel core-pattern kernel-log-call \
    clock-set bpf-tracing device-nodes mount-disk; do
    grep -qx "$door" <<<"$doors" || { echo "$door is not open"; return 1; }
  done
  [ "$(wc -l <<<"$doors")" -ge 40 ]
}
check 'the same tests find more than 40 open escape vectors in a privileged node' must_be_open
says_so() { if capn doctor --escape-test "$(node)"; then return 1; fi; }
check 'the escape test fails there' says_so
unharmed() { settings_of_host | diff "$scratch/before" -; }
check 'the host is unchanged' unharmed
check 'delete the cluster (privileged)' capn delete cluster "$cluster"
