# Kubernetes end-to-end tests against a cluster, without pulling images. Sourced by sections of ./test.
# shellcheck shell=bash disable=SC2154,SC2016 # scratch, kubernetes and kubernetes_tests are set by ./test

# The test images as an archive for containerd, cached next to the programs. One lane builds it, others wait.
conformance_images() {
  test_images=$kubernetes_tests/images.tar
  (flock 9 && conformance_images_build) 9>"$test_images.lock"
}
# The directory of Kubernetes' own sources.
conformance_source() {
  (cd "tests/kubernetes/$kubernetes_release/kubernetes" && GOFLAGS=-mod=mod go list -m -f '{{.Dir}}' k8s.io/kubernetes)
}
conformance_images_build() {
  local source newer
  newer=$(find "$kubernetes_tests/.stamp" crates/e2e/src crates/capn-oci/src -type f -newer "$test_images.names" 2>&1)
  if [ -n "$newer" ]; then
    source=$(conformance_source) || return 1
    "$e2e_bin" images --kubernetes "$kubernetes" --tests "$kubernetes_tests" \
      --source "$source" --out "$test_images" >"$scratch/images.names" || return 1
    mv "$scratch/images.names" "$test_images.names"
  fi
}

# conformance_run CLUSTER OUTPUT FLAG... : runs e2e.test; its JUnit files are in OUTPUT.
conformance_run() {
  local cluster=$1 output=$2
  shift 2
  mkdir -p "$output"
  PATH=$kubernetes:$PATH "$kubernetes_tests/ginkgo" --procs="${CAPN_TEST_PROCS:-4}" --timeout=6h --no-color --flake-attempts=1 "$@" \
    "$kubernetes_tests/e2e.test" -- --provider=skeleton --kubeconfig="$scratch/state/clusters/$cluster.kubeconfig" \
    --report-dir="$output" --num-nodes=2 --non-blocking-taints=node-role.kubernetes.io/control-plane \
    --dump-logs-on-failure=false --allowed-not-ready-nodes=0 >"$output/log" 2>&1
}

# Converts a file with one name or part of a name per line to a regular expression.
conformance_pattern() {
  sed -e 's/^.* :: //' -e '/^#/d' -e '/^$/d' -e 's/[][\\.*^$()+?{}|\/]/\\&/g' "$1" | paste -sd '|'
}

# conformance_check CLUSTER LIST AT_LEAST : runs the tests in a list; each counts.
conformance_check() {
  local output=$scratch/conformance
  rm -rf "$output"
  conformance_run "$1" "$output" --focus="($(conformance_pattern "$2")).*\\[Conformance\\]" || true
  check "at least $3 conformance tests pass" conformance_verdict "$output" --at-least "$3"
}
# conformance_verdict OUTPUT FLAG... : fails on unknown test failures; prints them and the state of the
# cluster.
conformance_verdict() {
  local output=$1 junit
  shift
  mapfile -t junit < <(find "$output" -name 'junit*.xml')
  "$e2e_bin" verdict --known tests/conformance/known.txt "$@" "${junit[@]}" ||
    {
      if [ ${#junit[@]} -eq 0 ]; then find "$output" -name log -exec tail -n 40 {} +; fi
      app_kubectl get nodes,pods -A -o wide --no-headers | tail -n 30
      return 1
    }
}
