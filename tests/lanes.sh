# Sections that run side by side: clusters mostly wait for programs in their nodes. Sourced by ./test.
# shellcheck shell=bash disable=SC2154,SC2034,SC2030,SC2031 # variables of ./test, some of them of a lane

# What all lanes share; each has its own `scratch`.
top=$scratch
lane_names=() lane_processes=()

# lane NAME COMMAND... : runs a command in the background with its own scratch and state directory. What it prints begins
# with the lane's name.
lane() {
  local name=$1
  shift
  # In its own process group, so that a test that is killed takes its lanes with it.
  set -m
  (
    set +m
    scratch=$top/lane-$name
    mkdir -p "$scratch"
    passed=0 failed=0 skipped=0 failures=() reports=()
    "$@"
    lane_passed=$passed lane_failed=$failed lane_skipped=$skipped lane_failures=("${failures[@]}") lane_reports=("${reports[@]}")
    declare -p lane_passed lane_failed lane_skipped lane_failures lane_reports >"$top/results-$name"
  ) > >(sed -u "s/^/$name /") 2>&1 </dev/null &
  lane_names+=("$name") lane_processes+=($!)
  set +m
}
lanes_stop() {
  local process
  for process in "${lane_processes[@]}"; do kill -TERM -- "-$process" 2>/dev/null; done
}
trap 'lanes_stop; rm -rf "$scratch"' EXIT
# Adds what a lane counted to the counts of ./test.
lane_results() {
  local lane_passed lane_failed lane_skipped lane_failures lane_reports
  if ! [ -s "$top/results-$1" ]; then
    failed=$((failed + 1)) failures+=("lane $1") reports+=('it ended early')
    return
  fi
  # shellcheck source=/dev/null
  . "$top/results-$1"
  passed=$((passed + lane_passed)) failed=$((failed + lane_failed)) skipped=$((skipped + lane_skipped))
  failures+=("${lane_failures[@]}") reports+=("${lane_reports[@]}")
}

# Takes the next section of the queue that no other lane has taken. CI stops at its time limit without a result, so there no
# section starts that may not end in time.
lane_sections() {
  local name
  for name in "${queue[@]}"; do
    if ! wants "$name" || ! mkdir "$top/taken-$name" 2>/dev/null; then continue; fi
    if [ "${CI:-}" = true ] && [ $((SECONDS - began)) -gt "${CAPN_TEST_BEGIN_UNTIL:-4300}" ]; then
      section "$name"
      skip "all of $name" "not enough time is left before CI's time limit"
      continue
    fi
    run_section "$name"
  done
}
# Compilation with idle processor time.
lane_idle() {
  local job
  chrt --idle --all-tasks --pid 0 "$BASHPID" >/dev/null 2>&1 || renice -n 19 "$BASHPID" >/dev/null 2>&1
  section "with idle processor time: $*"
  for job in "$@"; do "idle_$job"; done
}
# As quickstart builds it: without features that only other crates enable.
# Its own target directory: cargo locks one while it compiles, and others would wait.
idle_capn_alone() { check 'capn builds by itself' cargo check --package capn --quiet --target-dir target/alone; }
idle_render() {
  # mdBook has a workspace of its own.
  check 'the program that renders the book holds' cargo test --quiet --locked --manifest-path xtask/book/Cargo.toml --target-dir target/book-program
  check 'the book is rendered' cargo xtask book
}

# Runs the sections of `queue` in CAPN_TEST_LANES lanes, then waits for all lanes.
lanes_run() {
  local number at
  for number in $(seq "${CAPN_TEST_LANES:-2}"); do lane "$number" lane_sections; done
  for at in "${!lane_processes[@]}"; do
    wait "${lane_processes[$at]}" || true
    lane_results "${lane_names[$at]}"
  done
}
