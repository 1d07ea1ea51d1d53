# Shared by ./test and its sections: running checks and counting them.
# shellcheck shell=bash disable=SC2154 # capn_bin is set by ./test

# grep -q without its early exit, which would break a pipe whose writer is still writing.
has() { grep "$@" >/dev/null; }

passed=0 failed=0 skipped=0
# Factor for time limits on emulated machines.
patience=${CAPN_TEST_PATIENCE:-1}
failures=() reports=()
began=$SECONDS
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

section() { printf '\n== %s (at %ss)\n' "$1" $((SECONDS - began)); }

# check WHAT COMMAND... : runs one check. Prints its output only if it fails.
check() {
  local what=$1 started=$SECONDS log=$scratch/check.log
  shift
  if "$@" >"$log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    printf '  ok    %s (%ss)\n' "$what" $((SECONDS - started))
  else
    failed=$((failed + 1))
    failures+=("$what")
    reports+=("$(printf '%s\n' "$*"; tail -n 40 "$log")")
    printf '  FAIL  %s\n' "$what"
    printf '%s\n' "${reports[-1]}" | sed 's/^/        | /'
    return 1
  fi
}

install_tools() {
  local wanted=(btrfs-progs busybox-static e2fsprogs lvm2 openssl python3 thin-provisioning-tools xz-utils) missing=() package
  for package in "${wanted[@]}"; do
    if ! dpkg -s "$package" >/dev/null 2>&1; then missing+=("$package"); fi
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  install_packages "${missing[@]}"
}

install_packages() {
  apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# skip WHAT WHY
skip() {
  skipped=$((skipped + 1))
  printf '  SKIPPED: %s: %s\n' "$1" "$2"
}

# Unit and integration tests of all crates; each test counts.
cargo_tests() {
  local log=$scratch/cargo.log ok bad ignored
  cargo test --workspace --no-fail-fast --quiet -- --show-output >"$log" 2>&1 </dev/null
  local status=$?
  ok=$(sum passed "$log") bad=$(sum failed "$log") ignored=$(sum ignored "$log")
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + ignored))
  printf '  cargo test: %s passed, %s failed, %s ignored\n' "$ok" "$bad" "$ignored"
  grep -E '^[[:space:]]*SKIPPED' "$log" | sort -u | while read -r line; do printf '  %s\n' "$line"; done
  skipped=$((skipped + $(grep -cE '^[[:space:]]*SKIPPED' "$log" || true)))
  if [ "$status" != 0 ]; then
    if [ "$bad" = 0 ]; then failed=$((failed + 1)); fi
    failures+=('cargo test')
    reports+=("$(cargo_failures "$log" | tail -n 80)")
    printf '%s\n' "${reports[-1]}" | sed 's/^/        | /'
  fi
}
# Failed tests with their output, without the output of passing tests.
cargo_failures() {
  awk '
    /^failures:$/ { inside = 1 }
    /^successes:$/ { inside = 0 }
    /^test result: FAILED/ { inside = 0; print }
    /^(error|warning: unused)/ { print }
    inside { print }
  ' "$1"
}
# Only lines with results: tests may print such words themselves.
sum() { grep -E '^test result: ' "$2" | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'; }

finish() {
  printf '\n'
  # Repeated at the end, since CI logs keep the end. Names come last, so that none is cut off.
  local at
  for at in "${!failures[@]}"; do
    printf 'FAILED: %s\n' "${failures[$at]}"
    tail -n 25 <<<"${reports[$at]:-}" | cut -c -300 | sed 's/^/  | /'
  done
  for at in "${!failures[@]}"; do
    printf 'FAILED: %s: %s\n' "${failures[$at]}" "$(grep -v '^ *$' <<<"${reports[$at]:-}" | tail -n 1 | cut -c -160)"
  done
  printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" = 0 ] || exit 1
  exit 0
}

# capn with the state directory of the tests.
capn() { "$capn_bin" --state-dir "$scratch/state" "$@"; }

# Instances of a cluster on the server, by their keys. The list fails with `not found` when another lane deletes an
# instance meanwhile.
instances_of() {
  local attempt
  for attempt in 1 2 3; do
    if incus list -f csv -c n "user.cluster-name=$1" >"$scratch/instances" 2>"$scratch/instances.err"; then break; fi
    if [ "$attempt" = 3 ]; then cat "$scratch/instances.err" >&2; return 1; fi
  done
  cat "$scratch/instances"
}

# clear_leftovers: removes leftovers of interrupted tests on this server. The
# names of test instances and clusters begin with capn-t-. Do not use while another ./test runs.
clear_leftovers() {
  local lock=/run/lock/capn-test.pid other project name
  other=$(cat "$lock" 2>/dev/null)
  if [ -e "/proc/${other:-none}/cmdline" ] && tr '\0' ' ' <"/proc/$other/cmdline" | has '^[a-z/]*bash .*test '; then
    echo "  another ./test runs ($other): what earlier ones left stays"
    return 0
  fi
  echo $$ >"$lock" 2>/dev/null
  while IFS=, read -r project name; do
    echo "  left by an earlier run: instance $name"
    incus delete --force --project "$project" "$name" || return
  done < <(incus list --all-projects -f csv -c en capn-t-)
  for name in $(incus query '/1.0/networks?recursion=1' | python3 -c 'import json, sys
for network in json.load(sys.stdin):
    if "/capn-t-" in network["description"] and network["description"].startswith("cluster "):
        print(network["name"])'); do
    echo "  left by an earlier run: network $name"
    until_true "network $name to be deleted" 30 incus network delete "$name" || return
  done
  for name in $(incus project list -f csv -c n | grep '^capn-t-'); do
    echo "  left by an earlier run: project $name"
    leftover_project "$name" || return
  done
}
# A project with its images and profiles; `incus project delete` wants it empty.
leftover_project() {
  local fingerprint
  if [ "$(incus project get "$1" features.images)" = true ]; then
    for fingerprint in $(incus image list --project "$1" -f csv -c f); do
      incus image delete --project "$1" "$fingerprint" || return
    done
  fi
  incus project delete "$1"
}

# until WHAT SECONDS COMMAND... : waits for a state; prints the awaited state on timeout.
until_true() {
  local what=$1 deadline=$((SECONDS + $2 * patience))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $deadline ]; then
      echo "still not: $what"
      return 1
    fi
    sleep 0.5
  done
}

# The `--wait` value for a number of minutes.
wait_flags() { if [ "$patience" -gt 1 ]; then echo --timeouts slow; fi; echo --wait "$(($1 * patience))m"; }
# Options for hosts with cgroup v1.
cgroup_flag() { if grep -qE '^[^ ]+ [^ ]+ cgroup ' /proc/mounts; then echo --allow-cgroup-v1; fi; }
