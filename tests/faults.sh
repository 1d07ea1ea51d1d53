# Faults of a real Incus while clusters are created, scaled and deleted: the daemon is killed or
# restarted, its disk is full, the network is cut. The final state is the same as without faults; nothing is
# created twice, and nothing is left. Sourced by ./test.
#
# Only kills and restarts unless CAPN_TEST_ALL_FAULTS=1 or CAPN_TEST_FAULTS is set.
# shellcheck shell=bash disable=SC2154 # scratch is set by ./test

# shellcheck source=tests/faults/server.sh
. tests/faults/server.sh
trap 'faults_down >/dev/null 2>&1; rm -rf "$scratch"' EXIT
cluster=capn-t-fault
wanted_faults=${CAPN_TEST_FAULTS:-killed restarted${CAPN_TEST_ALL_FAULTS:+ filled cut}}

# --- observations ------------------------------------------------------------------------------

instances() { fincus query '/1.0/instances?recursion=1'; }
shape() { instances | python3 tests/faults/shape.py shape "$cluster"; }
runs() { instances | python3 tests/faults/shape.py runs "$cluster"; }
# Instance volumes in the pool, complete or not.
unpacked() { find "$pool/containers" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort; }
operations() { fincus query '/1.0/operations?recursion=1'; }
works_on() { operations | has "\"description\": \"$1"; }
quiet() { ! operations | has '"status": "Running"'; }
ready() {
  fcapn get machines "$cluster" -o json |
    python3 -c 'import json, sys; m = json.load(sys.stdin)["items"]; sys.exit(len(m) != int(sys.argv[1]) or not all(x["ready"] for x in m))' "$1"
}
# The load balancer's backends are exactly the control planes.
balanced() {
  local balancer address
  balancer=$(fincus list -f csv -c n | grep -- '-lb$') || return
  address=$(fcapn get machines "$cluster" -o json |
    python3 -c 'import json, sys; print(*(x["address"] for x in json.load(sys.stdin)["items"] if x["role"] != "worker"))')
  [ "$(fincus exec "$balancer" -- grep -c '^ *server ' /etc/haproxy/haproxy.cfg)" = 1 ] &&
    fincus exec "$balancer" -- grep -q "server .* $address:6443" /etc/haproxy/haproxy.cfg
}
forgotten() { ! instances | grep -q '"cloud-init.user-data"'; }
# A fault during the first boot of a node, such as a full disk, is a permanent failure.
booted() {
  local node
  for node in $(fincus list -f csv -c n | grep -v -- '-lb$'); do
    # cloud-init is disabled by now; check its result.
    fincus exec "$node" -- cat /var/lib/cloud/data/result.json | tr -d ' \n' | has '"errors":\[\]' || return
  done
}
as_expected() { # as_expected MACHINES
  ready "$1" && balanced && booted && quiet && [ "$(shape)" = "$(cat "$faults/shape-$1")" ] &&
    [ "$(unpacked)" = "$(fincus list -f csv -c n | sort)" ]
}
# Managed networks only: the list includes bridges of this machine's Incus.
networks() { fincus network list -f csv | grep '^capn-[0-9a-f]\{8\},[a-z]*,YES'; }
nothing_left() { [ -z "$(what_is_left)" ]; }
what_is_left() {
  fincus query /1.0 >/dev/null || echo 'the server does not answer'
  fincus list -f csv -c ns
  unpacked | sed 's/^/unpacked: /'
  quiet || operations | grep -e '"description"' -e '"status"'
  monitors
  networks
}
monitors() { pgrep -af "^\[lxc monitor\] $faults/"; }

# settled MACHINES: the final state is the same as without a fault.
settled() {
  local part
  until_true "$1 machines as without a fault" 150 as_expected "$1" && return
  # CI shows the end of the output.
  operations | grep '"description"'
  fcapn describe cluster "$cluster"
  fcapn get machines "$cluster"
  unpacked
  diff <(shape) "$faults/shape-$1"
  for part in "ready $1" balanced booted quiet; do $part >/dev/null 2>&1 || echo "not so: $part"; done
  return 1
}
# Existing instances have kept running.
nothing_twice() {
  local line
  while read -r line; do
    case " $(runs | tr '\n' ' ') " in
      *" $line "*) ;;
      *)
        # Deleted instances are gone.
        if fincus list -f csv -c n | has -x "${line%% *}"; then
          echo "made or started twice: $line"
          runs
          return 1
        fi ;;
    esac
  done <<<"$1"
}

# --- faults -----------------------------------------------------------------------------------

killed() { daemon_end KILL && daemon_start; }
# Instances keep running; operations of the daemon are interrupted or awaited.
restarted() { daemon_end TERM && daemon_start; }
filled() {
  local free
  free=$(df --output=avail -B1 "$pool" | tail -n 1)
  fallocate -l "$free" "$pool/filled" 2>/dev/null || dd if=/dev/zero of="$pool/filled" bs=1M 2>/dev/null
  # Until a new instance failed to get its disk. A deleted one needs none and may be gone already.
  until_true 'the full disk to be met' 20 met "$(unpacked | wc -l)" || true
  rm -f "$pool/filled"
}
met() { [ "$(unpacked | wc -l)" -lt "$1" ] || fcapn describe cluster "$cluster" | has -i 'no space\|no room\|disk space'; }
cut_off() {
  kill -USR1 "$proxy"
  until_true 'the server to be quiet' 60 quiet
  until_true 'the plane to say that the server is away' 20 away || true
  kill -USR2 "$proxy"
}
away() { fcapn describe cluster "$cluster" | has 'ServerUnavailable'; }

# --- moments ----------------------------------------------------------------------------------

# Waits without pauses: the awaited state lasts a second or two.
moment() {
  local what=$1 deadline=$((SECONDS + 60))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $deadline ]; then echo "never seen: $what"; return 1; fi
  done
}
more_unpacked_than() { [ "$(unpacked | wc -l)" -gt "$1" ]; }
is_going() { works_on 'Stopping instance' || works_on 'Deleting instance' || ! more_unpacked_than "$(($1 - 1))"; }

# --- phases -----------------------------------------------------------------------------------

create() {
  fcapn create cluster "$cluster" --remote faults --bootstrap none --workers 1 --wait 0 || return
  moment 'a node that is being unpacked' more_unpacked_than 1 && "$1" && settled 2
}
scale_up() {
  local before
  before=$(runs)
  fcapn scale "$cluster" --workers 2 --wait 4m & local scaling=$!
  moment 'a node that is being unpacked' more_unpacked_than 3 && "$1" && settled 3 &&
    nothing_twice "$before" && wait $scaling
}
scale_down() {
  local before
  before=$(runs)
  fcapn scale "$cluster" --workers 1 --wait 4m & local scaling=$!
  moment 'a node that is going' is_going 4 && "$1" && settled 2 && nothing_twice "$before" && wait $scaling
}
delete() {
  fcapn delete cluster "$cluster" --wait 4m & local deleting=$!
  moment 'a node that is going' is_going 3 && "$1" && wait $deleting || return
  until_true 'nothing to be left' 30 nothing_left && return
  what_is_left
  grep -v ' INFO ' "$faults/serve.log" | tail -n 15
  return 1
}
none() { :; }
note_shape() { # note_shape MACHINES
  until_true "$1 machines" 120 ready "$1" && until_true 'the load balancer to know them' 60 balanced &&
    until_true 'the bootstrap data to be removed' 60 forgotten &&
    shape >"$faults/shape-$1"
}
undisturbed() {
  fcapn create cluster "$cluster" --remote faults --bootstrap none --workers 1 --wait 0 && note_shape 2 &&
    fcapn scale "$cluster" --workers 2 --wait 4m && note_shape 3 && settled 3 &&
    fcapn scale "$cluster" --workers 1 --wait 4m && settled 2
}

# life FAULT WHAT: the lifecycle of a cluster, with the fault in each phase.
life() {
  local phase
  # Leftovers of a failed phase.
  fcapn delete cluster "$cluster" --wait 2m >/dev/null 2>&1
  for phase in create scale_up scale_down delete; do
    check "$2 during ${phase/_/ }" "$phase" "$1" || break
  done
}

# Traffic of an idle cluster: keep-alive packets of event streams are smaller than any request.
idle() {
  local seconds=$1 before after
  counted && before=$(cat "$faults/counts") && sleep "$seconds" && counted && after=$(cat "$faults/counts") || return
  read -r -a before <<<"$before"
  read -r -a after <<<"$after"
  echo "in $seconds s: $((after[0] - before[0])) connections, $((after[1] - before[1])) packets, $((after[2] - before[2])) bytes, largest ${after[3]}" |
    tee "$faults/idle"
  [ "$((after[0] - before[0]))" = 0 ] && [ "${after[3]}" -lt 64 ]
}
counted() {
  rm -f "$faults/counts"
  kill -HUP "$proxy" && until_true 'the counts' 10 test -e "$faults/counts"
}

if [ -z "$incusd_bin" ]; then
  skip 'all of faults' 'the daemon program incusd was not found'
elif ! losetup --find >/dev/null 2>&1; then
  skip 'all of faults' 'no loop device is available for a small pool'
elif check 'start a second Incus for the tests' faults_up &&
  check 'it has the images' faults_images && check 'capn serve serves' serve_start &&
  check 'create a cluster and scale it up and down without a fault' undisturbed; then
  check 'no requests are sent while the cluster is idle' idle "${CAPN_TEST_IDLE_SECONDS:-20}"
  check 'delete the cluster' delete none
  for fault in $wanted_faults; do
    case $fault in
      killed) life killed 'the daemon is killed' ;;
      restarted) life restarted 'the daemon is restarted' ;;
      filled) life filled 'the disk is full' ;;
      cut) life cut_off 'the network is cut' ;;
    esac
  done
fi
check 'clean up' faults_down
trap 'rm -rf "$scratch"' EXIT
