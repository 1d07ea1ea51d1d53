# Kubernetes and programs of nodes, built or taken from the given directories. Sourced by ./test.
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

# Sets kubernetes, kubernetes_older, kubernetes_tests and the environment variables of capn for both directories, or
# kubernetes_missing with the reason.
kubernetes_build() {
  if [ -n "$install" ] && [ "$(id -u)" = 0 ]; then
    check 'install Go and the programs for the test images' kubernetes_tools || true
  fi
  if [ -x "${CAPN_KUBERNETES_BINARIES:-}/kubeadm" ]; then
    kubernetes=$CAPN_KUBERNETES_BINARIES
  elif ! command -v go >/dev/null; then
    kubernetes_missing='Go is not installed; `./test --install` as root installs it'
    skip 'Kubernetes from its Go modules' "$kubernetes_missing"
    return 0
  elif check "build Kubernetes $kubernetes_release with etcd and CoreDNS" kubernetes_directory "$kubernetes_release"; then
    kubernetes=$(cat "$scratch/built.$kubernetes_release")
    export CAPN_KUBERNETES_BINARIES=$kubernetes
  else
    kubernetes_missing='Kubernetes could not be built; see above'
    return 0
  fi
  if check 'build containerd, runc and crictl' kubernetes_directory runtime; then
    CAPN_RUNTIME_BINARIES=$(cat "$scratch/built.runtime")
    export CAPN_RUNTIME_BINARIES
  fi
  # The version before an upgrade.
  if wants upgrade && [ "$kubernetes_release" != v1.36 ] && [ -s "$scratch/built.$kubernetes_release" ] &&
    check 'build Kubernetes v1.36' kubernetes_directory v1.36; then
    kubernetes_older=$(cat "$scratch/built.v1.36")
  fi
  if wants applications || wants nftables || wants conformance; then
    check "build e2e.test of $kubernetes_release and the programs of its images" kubernetes_directory "$kubernetes_release-tests" || return 0
    kubernetes_tests=$(cat "$scratch/built.$kubernetes_release-tests")
  fi
}
kubernetes_directory() { tests/kubernetes/build.sh "$1" >"$scratch/built.$1"; }
