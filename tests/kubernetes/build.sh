#!/usr/bin/env bash
# Builds Kubernetes and other programs of nodes from their Go modules.
#
#   build.sh v1.36        kubeadm, kubelet, kubectl, the control plane, kube-proxy, etcd, CoreDNS, flanneld
#   build.sh v1.36-tests  e2e.test and ginkgo of the same release, and the programs of its test images
#   build.sh runtime      containerd, its shim, ctr, runc and crictl
#
# Prints the directory with the programs. They are cached by version outside the
# tree (CAPN_KUBERNETES_CACHE, or $XDG_CACHE_HOME/capn-test) and only rebuilt when a go.mod, a go.sum
# or this script changes.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"

cache=${CAPN_KUBERNETES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/capn-test}
# Debian's Go does not switch versions by default.
export GOTOOLCHAIN=auto GOFLAGS=-buildvcs=false CGO_ENABLED=0

# The version that a module requires.
required() { (cd "$1" && go list -m -f '{{.Version}}' "$2"); }

# build MODULE_DIRECTORY OUTPUT PACKAGE [FLAG...]
build() {
  local directory=$1 output=$2 package=$3
  shift 3
  (cd "$directory" && go build -trimpath "$@" -o "$output" "$package")
}

# Linker flags that set the version of Kubernetes programs.
kubernetes_ldflags() {
  local version=$1 path minor
  minor=${version#v1.}
  printf -- '-s -w'
  for path in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- ' -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
      "$path" "$version" "$path" "$path" "${minor%%.*}" "$path"
  done
}

kubernetes() {
  local directory=$release/kubernetes program packages=()
  for program in kubeadm kubelet kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do
    packages+=("k8s.io/kubernetes/cmd/$program")
  done
  (cd "$directory" && go build -trimpath -ldflags "$(kubernetes_ldflags "$version")" -o "$1/" "${packages[@]}")
  build "$release/etcd" "$1/etcd" go.etcd.io/etcd/server/v3 -ldflags '-s -w'
  build "$release/etcd" "$1/etcdctl" go.etcd.io/etcd/etcdctl/v3 -ldflags '-s -w'
  build "$release/etcd" "$1/etcdutl" go.etcd.io/etcd/etcdutl/v3 -ldflags '-s -w'
  build "$release/coredns" "$1/coredns" github.com/coredns/coredns -ldflags '-s -w'
  flannel "$1"
}

# flannel's main program without the backends that need a C compiler (udp) or the library of a cloud (alloc,
# tencentvpc); that of Tencent's cloud is not on the Go module proxy.
flannel() {
  local module=github.com/flannel-io/flannel source=$1/flannel.go
  (cd flannel && go mod download $module)
  sed -E '/backend\/(alloc|tencentvpc|udp)"$/d' "$(cd flannel && go list -m -f '{{.Dir}}' $module)/main.go" >"$source"
  build flannel "$1/flanneld" "$source" -ldflags "-s -w -X $module/pkg/version.Version=$(required flannel $module)"
  rm "$source"
}

kubernetes_tests() {
  local directory=$release/kubernetes ldflags
  ldflags=$(kubernetes_ldflags "$version")
  build "$directory" "$1/agnhost" k8s.io/kubernetes/test/images/agnhost -ldflags "$ldflags"
  build "$directory" "$1/nonewprivs" k8s.io/kubernetes/test/images/nonewprivs -ldflags '-s -w'
  build "$directory" "$1/sample-apiserver" k8s.io/sample-apiserver -ldflags "$ldflags"
  build "$directory" "$1/ginkgo" github.com/onsi/ginkgo/v2/ginkgo -ldflags '-s -w'
  # `go vet` would look at all packages below as well.
  (cd "$directory" && go test -c -vet=off -trimpath -ldflags "$ldflags" -o "$1/e2e.test" k8s.io/kubernetes/test/e2e)
}

runtime() {
  local of containerd=github.com/containerd/containerd/v2
  of="-s -w -X $containerd/version.Version=$version"
  build runtime/containerd "$1/containerd" $containerd/cmd/containerd -ldflags "$of" -tags no_btrfs
  build runtime/containerd "$1/containerd-shim-runc-v2" $containerd/cmd/containerd-shim-runc-v2 -ldflags "$of"
  build runtime/containerd "$1/ctr" $containerd/cmd/ctr -ldflags "$of"
  # runc needs C to enter namespaces and libseccomp to filter system calls.
  CGO_ENABLED=1 build runtime/runc "$1/runc" github.com/opencontainers/runc \
    -tags 'seccomp,netgo,osusergo,cgo_static_build' \
    -ldflags "-s -w -extldflags -static -X main.version=$(required runtime/runc github.com/opencontainers/runc | tr -d v)"
  build runtime/crictl "$1/crictl" sigs.k8s.io/cri-tools/cmd/crictl \
    -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$(required runtime/crictl sigs.k8s.io/cri-tools)"
}

what=${1:-}
case $what in
  v1.*-tests) make=kubernetes_tests release=${what%-tests} ;;
  v1.*) make=kubernetes release=$what ;;
  runtime) make=runtime release=runtime ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
[ -d "$release" ] || { echo "there is no $release here; there are: $(echo v1.* runtime)" >&2; exit 2; }
command -v go >/dev/null || { echo "Go is not installed; './test --install' installs it" >&2; exit 1; }
case $release in
  runtime) version=$(required runtime/containerd github.com/containerd/containerd/v2) ;;
  *) version=$(required "$release/kubernetes" k8s.io/kubernetes) ;;
esac
place=$cache/$make/$version
case $make in kubernetes) parts=("$release" flannel) ;; *) parts=("$release") ;; esac
stamp=$(find "${parts[@]}" build.sh -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
if [ "$(cat "$place/.stamp" 2>/dev/null)" != "$stamp" ]; then
  # Built in a temporary directory and moved at the end, so that the result is always complete.
  rm -rf "$place.new"
  mkdir -p "$place.new"
  "$make" "$place.new" >&2
  printf '%s\n' "$stamp" >"$place.new/.stamp"
  rm -rf "$place"
  mv "$place.new" "$place"
fi
echo "$place"
