# All Kubernetes conformance tests on a cluster with one control plane and two workers. Sourced by
# ./test, only when named: it takes more than an hour.
#
#   CAPN_TEST_ISOLATION   shared (the default), isolated or privileged
#   CAPN_TEST_RELEASE     v1.37 (the default) or v1.36
#   CAPN_TEST_FOCUS       only tests whose names match this regular expression
#   CAPN_TEST_REPORTS     directory for the JUnit files; docs/tested/conformance.md is made from them
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

kubernetes_tests_for 'all of conformance' || return 0
# shellcheck source=tests/applications/lib.sh
. tests/applications/lib.sh
# shellcheck source=tests/conformance/lib.sh
. tests/conformance/lib.sh

isolation=${CAPN_TEST_ISOLATION:-shared}
# Isolation modes may be tested concurrently.
cluster=capn-t-conf-$isolation
conf_up() {
  app_leftovers || return 1
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --workers 2 --isolation "$isolation" --timeouts slow $(cgroup_flag) --wait 20m
}
check "create a cluster with one control plane and two workers ($isolation)" conf_up || return 0
check 'build the test images from local programs' conformance_images || return 0
check 'load them into the nodes' app_images
# Number of tests to run, from the release's own list.
conf_expected() {
  local list all excluded=0
  list=$(conformance_source)/test/conformance/testdata/conformance.yaml || return 1
  all=$(grep -c '^- testname:' "$list") || return 1
  if [ "$isolation" != privileged ]; then
    excluded=$(grep -cE "codename: .*($(conformance_pattern tests/conformance/excluded.txt))" "$list")
  fi
  echo $((all - excluded))
}
conf_all() {
  local output=$scratch/conformance exclude=() at_least=() expected reports=${CAPN_TEST_REPORTS:-}
  rm -rf "$output"
  if [ "$isolation" != privileged ]; then
    exclude=(--skip="$(conformance_pattern tests/conformance/excluded.txt)")
  fi
  if [ -n "${CAPN_TEST_FOCUS:-}" ]; then
    exclude+=(--focus="$CAPN_TEST_FOCUS")
  else
    # Otherwise a test that no expression selects would not be missed.
    expected=$(conf_expected) || return 1
    at_least=(--at-least "$expected")
  fi
  conformance_run "$cluster" "$output/parallel" \
    --label-filter='Conformance && !(Serial || Disruptive)' "${exclude[@]}" || true
  # These need the cluster for themselves.
  CAPN_TEST_PROCS=1 conformance_run "$cluster" "$output/serial" \
    --label-filter='Conformance && (Serial || Disruptive)' "${exclude[@]}" || true
  if [ -n "$reports" ]; then
    mkdir -p "$reports/$isolation" &&
      cp "$output"/parallel/junit*.xml "$reports/$isolation/parallel.xml" &&
      cp "$output"/serial/junit*.xml "$reports/$isolation/serial.xml" || return 1
  fi
  conformance_verdict "$output" "${at_least[@]}"
}
check "every conformance test passes ($isolation)" conf_all
check 'delete the cluster' capn delete cluster "$cluster"
