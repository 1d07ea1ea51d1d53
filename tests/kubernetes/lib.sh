# Kubernetes and the programs of nodes, built or taken from where the caller says. Sourced by ./test.
# shellcheck shell=bash disable=SC2154,SC2034,SC2016 # variables of ./test

# What builds the modules: Go, and for runc a C library.
kubernetes_tools() {
  local missing=()
  # The first release that fetches a newer one of itself when a module asks for it.
  if ! go version 2>/dev/null | has -E 'go1\.(2[1-9]|[3-9][0-9])'; then missing+=(golang-go); fi
  for package in libseccomp-dev pkg-config bind9-dnsutils bind9-host curl netcat-openbsd perl-base; do
    if ! dpkg -s "$package" >/dev/null 2>&1; then missing+=("$package"); fi
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  install_packages -t "$(. /etc/os-release && echo "$VERSION_CODENAME")-backports" "${missing[@]}" ||
    install_packages "${missing[@]}"
}

# Sets kubernetes, kubernetes_older, kubernetes_tests and the environment by which capn finds both directories, or
# kubernetes_missing, the reason why there are none.
kubernetes_build() {
  if [ -n "$install" ] && [ "$(id -u)" = 0 ]; then
    check 'Go and what the images of the tests need are installed' kubernetes_tools || true
  fi
  if [ -x "${CAPN_KUBERNETES_BINARIES:-}/kubeadm" ]; then
    kubernetes=$CAPN_KUBERNETES_BINARIES
  elif ! command -v go >/dev/null; then
    kubernetes_missing='Go is not installed; `./test --install` as root installs it'
    skip 'Kubernetes from its Go modules' "$kubernetes_missing"
    return 0
  elif check "Kubernetes $kubernetes_release is built, with etcd and CoreDNS" kubernetes_directory "$kubernetes_release"; then
    kubernetes=$(cat "$scratch/built.$kubernetes_release")
    export CAPN_KUBERNETES_BINARIES=$kubernetes
  else
    kubernetes_missing='Kubernetes could not be built; see above'
    return 0
  fi
  if check 'containerd, runc and crictl are built' kubernetes_directory runtime; then
    CAPN_RUNTIME_BINARIES=$(cat "$scratch/built.runtime")
    export CAPN_RUNTIME_BINARIES
  fi
  # What an upgrade begins with.
  if wants upgrade && [ "$kubernetes_release" != v1.36 ] && [ -s "$scratch/built.$kubernetes_release" ] &&
    check 'Kubernetes v1.36 is built' kubernetes_directory v1.36; then
    kubernetes_older=$(cat "$scratch/built.v1.36")
  fi
  if wants applications || wants nftables || wants conformance; then
    check "e2e.test of $kubernetes_release is built, with the programs of its images" kubernetes_directory "$kubernetes_release-tests" || return 0
    kubernetes_tests=$(cat "$scratch/built.$kubernetes_release-tests")
  fi
}
kubernetes_directory() { tests/kubernetes/build.sh "$1" >"$scratch/built.$1"; }
