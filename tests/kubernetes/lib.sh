# Kubernetes and programs of nodes, taken from the given directories or built by the idle lane. Sourced by ./test.
# shellcheck shell=bash disable=SC2154,SC2034,SC2016 # variables of ./test

# Build requirements: Go, and a C library for runc.
kubernetes_tools() {
  local missing=()
  # The first Go release that downloads a newer toolchain if a module requires it.
  if ! go version 2>/dev/null | has -E 'go1\.(2[1-9]|[3-9][0-9])'; then missing+=(golang-go); fi
  for package in libseccomp-dev pkg-config bind9-dnsutils bind9-host curl netcat-openbsd perl-base; do
    if ! dpkg -s "$package" >/dev/null 2>&1; then missing+=("$package"); fi
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  install_packages -t "$(. /etc/os-release && echo "$VERSION_CODENAME")-backports" "${missing[@]}" ||
    install_packages "${missing[@]}"
}

# kubernetes_begin: finds out whether Kubernetes can be built, and names the jobs of the idle lane.
kubernetes_begin() {
  if [ -n "$install" ] && [ "$(id -u)" = 0 ]; then
    check 'install Go and the programs for the test images' kubernetes_tools || true
  fi
  if [ -x "${CAPN_KUBERNETES_BINARIES:-}/kubeadm" ]; then
    kubernetes=$CAPN_KUBERNETES_BINARIES
  elif ! command -v go >/dev/null; then
    kubernetes_missing='Go is not installed; `./test --install` as root installs it'
    skip 'Kubernetes from its Go modules' "$kubernetes_missing"
    return 0
  else
    idle+=(kubernetes)
  fi
  idle+=(runtime)
  if wants applications || wants nftables || wants conformance; then idle+=(kubernetes_tests); fi
}
# Waits for both, and sets kubernetes and the environment variables of capn, or kubernetes_missing with the reason.
kubernetes_wait() {
  if [ -n "$kubernetes_missing" ]; then return 0; fi
  if [ -z "$kubernetes" ]; then
    if check "Kubernetes $kubernetes_release with etcd and CoreDNS is built" wait_for_build "$kubernetes_release"; then
      kubernetes=$(wait_for_build "$kubernetes_release")
      export CAPN_KUBERNETES_BINARIES=$kubernetes
    else
      kubernetes_missing='Kubernetes could not be built; see above'
      return 0
    fi
  fi
  if check 'containerd, runc and crictl are built' wait_for_build runtime; then
    CAPN_RUNTIME_BINARIES=$(wait_for_build runtime)
    export CAPN_RUNTIME_BINARIES
  fi
}

# Jobs of the idle lane.
idle_kubernetes() { idle_directory "$kubernetes_release" "build Kubernetes $kubernetes_release with etcd and CoreDNS"; }
idle_runtime() { idle_directory runtime 'build containerd, runc and crictl'; }
idle_kubernetes_tests() { idle_directory "$kubernetes_release-tests" "build e2e.test of $kubernetes_release and the programs of its images"; }
# The release before an upgrade.
idle_kubernetes_older() {
  local newer=$kubernetes
  if [ -z "$newer" ]; then newer=$(cat "$top/built.$kubernetes_release" 2>/dev/null); fi
  # In CI, which has a time limit, only if it is cached or there is time left.
  if [ "${CI:-}" = true ] && [ $((SECONDS - began)) -gt "${CAPN_TEST_OLDER_UNTIL:-2700}" ] &&
    ! compgen -G "$(dirname "$newer")/v1.36.*" >/dev/null; then
    echo "not enough time is left before CI's time limit to build it" >"$top/not-built.v1.36"
    return
  fi
  idle_directory v1.36 'build Kubernetes v1.36'
}
idle_directory() {
  if check "$2" kubernetes_directory "$1"; then
    mv "$scratch/built.$1" "$top/built.$1"
  else
    echo 'it could not be built' >"$top/not-built.$1"
  fi
}
kubernetes_directory() { tests/kubernetes/build.sh "$1" >"$scratch/built.$1"; }

# wait_for_build WHAT : waits for a job of the idle lane and prints the directory; fails with the reason if there is none.
wait_for_build() {
  until [ -s "$top/built.$1" ] || [ -s "$top/not-built.$1" ] || [ -e "$top/results-idle" ]; do sleep 1; done
  cat "$top/built.$1" 2>/dev/null || { cat "$top/not-built.$1" 2>/dev/null || echo 'it was not built'; return 1; }
}
# Sets kubernetes_tests, or skips WHAT.
kubernetes_tests_for() {
  local told
  if [ -z "$kubernetes" ]; then
    told=$kubernetes_missing
  elif told=$(wait_for_build "$kubernetes_release-tests"); then
    kubernetes_tests=$told
    return 0
  fi
  skip "$1" "$told"
  return 1
}
