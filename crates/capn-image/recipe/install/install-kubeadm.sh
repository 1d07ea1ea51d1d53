#!/bin/sh
# Makes a capn node with Kubernetes of a Debian or Ubuntu system, as the node image is one: run by
# cloud-init before kubeadm, in an instance of a stock cloud image. Running it again is harmless.
#
# usage: install-kubeadm.sh [VERSION]      e.g. v1.36.2
#
# CAPN_KUBERNETES_URL  where VERSION/bin/linux/ARCH/NAME and NAME.sha256 are, instead of the
#                      official downloads
set -eu

version="${1:-@VERSION@}"
source="${CAPN_KUBERNETES_URL:-@KUBERNETES_URL@}"
# The container runtime where the distribution's is too old: "URL SHA256_AMD64 SHA256_ARM64" a line.
releases="@RELEASES@"
# Digests that were known when this file was written, "NAME SHA256" a line; of other files the
# digest that is published beside them counts.
digests="@DIGESTS@"

say() { echo "install-kubeadm: $*"; }
fail() {
    echo "install-kubeadm: $*" >&2
    exit 1
}

case "$version" in
v[0-9]*.[0-9]*.[0-9]*) ;;
*) fail "'$version' is not a Kubernetes version: write it as v1.36.2" ;;
esac
[ "$(id -u)" = 0 ] || fail "this needs root"
case "$(uname -m)" in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) fail "there is no Kubernetes for $(uname -m)" ;;
esac
# shellcheck source=/dev/null
. /etc/os-release
case "${ID:-}" in
debian | ubuntu) ;;
*) fail "this is for Debian and Ubuntu, and here is ${PRETTY_NAME:-something else}" ;;
esac
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# --- packages ---------------------------------------------------------------------------------
is_installed() {
    [ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" = "install ok installed" ]
}
version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null; }
missing=
for package in @PACKAGES@; do
    is_installed "$package" || missing="$missing $package"
done
# Debian 12 has containerd 1.6, too old for kubelet.
if is_installed containerd && dpkg --compare-versions "$(version_of containerd)" lt 1.7; then
    missing="$missing containerd"
fi
if [ -n "$missing" ]; then
    say "installing$missing"
    if [ "${VERSION_CODENAME:-}" = bookworm ]; then
        cat >/etc/apt/sources.list.d/@NEWER_SUITE@.sources <<END
Types: deb
URIs: http://deb.debian.org/debian
Suites: @NEWER_SUITE@
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
        cat >/etc/apt/preferences.d/@NEWER_SUITE@ <<END
Package: *
Pin: release n=@NEWER_SUITE@
Pin-Priority: -10

Package: @NEWER_PACKAGES@
Pin: release n=@NEWER_SUITE@
Pin-Priority: 990
END
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o Acquire::Retries=3 update
    # shellcheck disable=SC2086 # words
    apt-get -qq -o Dpkg::Options::=--force-confold -o APT::Install-Recommends=false \
        install $missing
fi

# --- downloads --------------------------------------------------------------------------------
# curl where it is; Python is wherever cloud-init is.
download() {
    # Whoever answers an https URL cannot lead to another scheme.
    case "$1" in https:*) schemes='--proto =https' ;; *) schemes='' ;; esac
    if command -v curl >/dev/null; then
        # shellcheck disable=SC2086 # words
        curl $schemes --fail --silent --show-error --location --retry 5 --connect-timeout 15 \
            --output "$2" "$1"
    else
        python3 -c 'import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as answer, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(answer, file)' "$1" "$2"
    fi
}
digest_of() {
    known="$(echo "$digests" | sed -n "s/^$1 //p")"
    if [ -z "$known" ]; then
        download "$2.sha256" "$work/$1.sha256" || fail "there is no digest at $2.sha256"
        known="$(cut -c 1-64 "$work/$1.sha256")"
    fi
    echo "$known"
}
is_file() { echo "$1  $2" | sha256sum --check --status - 2>/dev/null; }
put_program() {
    install -m 0755 "$1" "$2/.${1##*/}.new"
    mv "$2/.${1##*/}.new" "$2/${1##*/}"
}

# --- container runtime ------------------------------------------------------------------------
# Beside the packages, whose files are theirs.
fetch_runtime() {
    mkdir -p "$work/runtime"
    while read -r url amd64 arm64; do
        url="$(echo "$url" | sed "s/ARCH/$arch/g")"
        digest="$arm64"
        [ "$arch" = arm64 ] || digest="$amd64"
        download "$url" "$work/release" || return 1
        is_file "$digest" "$work/release" || fail "$url is not the file with SHA-256 $digest"
        case "$url" in
        *.tar.gz) tar -xzf "$work/release" -C "$work/runtime" ;;
        *) mv "$work/release" "$work/runtime/runc" ;;
        esac
    done <<END
$releases
END
    for file in "$work/runtime/bin"/* "$work/runtime/runc" "$work/runtime/crictl"; do
        put_program "$file" /usr/local/bin
    done
    mkdir -p /etc/systemd/system/containerd.service.d
    printf '[Service]\nExecStart=\nExecStart=/usr/local/bin/containerd\n' \
        >/etc/systemd/system/containerd.service.d/capn-runtime.conf
}
containerd_version() { containerd --version | awk '{ sub("^v", "", $3); print $3 }'; }
case "$(containerd_version)" in
0.* | 1.*)
    say "containerd and runc from the official releases"
    fetch_runtime || say "WARNING: they cannot be had: containerd $(containerd_version) stays," \
        "which is no longer maintained"
    hash -r
    ;;
esac

# --- Kubernetes -------------------------------------------------------------------------------
for name in kubeadm kubelet kubectl; do
    url="$source/$version/bin/linux/$arch/$name"
    digest="$(digest_of "$name" "$url")"
    if is_file "$digest" "/usr/bin/$name"; then
        say "$name $version is there"
        continue
    fi
    say "$name from $url"
    download "$url" "$work/$name" || fail "cannot download $url"
    is_file "$digest" "$work/$name" || fail "$url is not the file with SHA-256 $digest"
    put_program "$work/$name" /usr/bin
    rm "$work/$name"
done

# --- files ------------------------------------------------------------------------------------
put() {
    mkdir -p "${2%/*}"
    cat >"$2"
    chmod "$1" "$2"
}
@FILES@
# containerd's configuration has another form since containerd 2.
case "$(containerd_version)" in
0.* | 1.*)
@CONTAINERD_2@
    ;;
*)
@CONTAINERD_3@
    ;;
esac
pause="$(kubeadm config images list --kubernetes-version "$version" | grep '/pause:')"
sed -i "s|@PAUSE@|$pause|" /etc/containerd/config.*.toml
mkdir -p /opt/cni /etc/cni/net.d /etc/capn /etc/containerd/certs.d /etc/containerd/conf.d
if [ ! -e /opt/cni/bin ]; then
    ln -s /usr/lib/cni /opt/cni/bin
fi

# --- units ------------------------------------------------------------------------------------
# A container's modules are the server's to load.
if ! systemd-detect-virt --quiet --container; then
    modprobe -a overlay br_netfilter || say "overlay or br_netfilter cannot be loaded"
fi
sysctl --quiet --load=/etc/sysctl.d/90-capn.conf 2>/dev/null || true
systemctl daemon-reload
systemctl --quiet enable @UNITS@ kubelet.service
systemctl restart @STARTED@
say "$(kubeadm version -o short) on $(containerd --version | cut -d' ' -f1-3)"
systemctl show --property StatusText --value containerd.service
