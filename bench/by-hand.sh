#!/usr/bin/env bash
# A cluster of one control plane and one worker, made with nothing but `incus`, `kubeadm` and
# `kubectl`: what `capn up` is measured against. The same image, the same settings, the same end:
# both nodes Ready, with pods of one node reaching pods of the other.
#
#   by-hand.sh up   PREFIX NODE-IMAGE HAPROXY-IMAGE [cgroup-v1]
#   by-hand.sh none PREFIX NODE-IMAGE HAPROXY-IMAGE
#   by-hand.sh down PREFIX
set -euo pipefail

verb=$1
prefix=$2
lb=$prefix-lb
cp=$prefix-cp
worker=$prefix-worker

if [ "$verb" = down ]; then
    for instance in "$worker" "$cp" "$lb"; do
        if incus info "$instance" >/dev/null 2>&1; then incus delete --force "$instance"; fi
    done
    exit 0
fi

node_image=$3
haproxy_image=$4
cgroup_v1=${5:-}
pods=10.244.0.0/16
modules=ip_vs,ip_vs_rr,ip_vs_wrr,ip_vs_sh,ip_tables,ip6_tables,iptable_raw,netlink_diag,nf_nat,overlay,br_netfilter,xt_socket

# Polls CONDITION ten times a second, for at most two minutes.
await() {
    local what=$1
    shift
    for _ in $(seq 1200); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        read -rt 0.1 <> <(:) || :
    done
    echo "by-hand: $what did not come about in two minutes" >&2
    return 1
}

address() {
    incus list "^$1\$" --format json |
        jq -er '.[0].state.network.eth0.addresses[] | select(.family == "inet" and .scope == "global") | .address'
}

launch_node() {
    local arguments=(-c security.nesting=true)
    # Where the server's host has no loadable modules the key would keep the node from starting.
    if [ -d /lib/modules ]; then arguments+=(-c "linux.kernel_modules=$modules"); fi
    incus launch "$node_image" "$1" "${arguments[@]}" --quiet
    await "address of $1" address "$1"
    await "containerd of $1" incus exec "$1" -- systemctl is-active containerd
}

incus launch "$haproxy_image" "$lb" --quiet
await "address of $lb" address "$lb"
endpoint=$(address "$lb")

launch_node "$cp"
cp_address=$(address "$cp")
incus file push --quiet - "$lb/etc/haproxy/haproxy.cfg" <<EOF
defaults
    mode tcp
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend control-plane
    bind *:6443
    default_backend control-plane
backend control-plane
    server $cp $cp_address:6443 check
EOF
incus exec "$lb" -- systemctl reload haproxy

if [ "$verb" = none ]; then
    launch_node "$worker"
    exit 0
fi

version=$(incus exec "$cp" -- kubeadm version -o short)
fail_cgroup_v1=""
ignore=""
if [ -n "$cgroup_v1" ]; then
    fail_cgroup_v1="failCgroupV1: false"
    ignore="ignorePreflightErrors: [SystemVerification]"
fi
patch() {
    incus file push --quiet --create-dirs - "$1/etc/kubernetes/patches/kubeletconfiguration0+strategic.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failSwapOn: false
featureGates: {KubeletInUserNamespace: true}
$fail_cgroup_v1
EOF
}

patch "$cp"
incus file push --quiet - "$cp/run/kubeadm.yaml" <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration:
  kubeletExtraArgs: [{name: provider-id, value: "lxc:///$cp"}]
  $ignore
patches: {directory: /etc/kubernetes/patches}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $version
clusterName: $prefix
controlPlaneEndpoint: $endpoint:6443
networking: {podSubnet: $pods, serviceSubnet: 10.96.0.0/12}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
EOF
incus exec "$cp" -- kubeadm init --config /run/kubeadm.yaml >/dev/null 2>&1

launch_node "$worker"
patch "$worker"
incus exec "$cp" -- kubeadm token create --kubeconfig /etc/kubernetes/admin.conf >"/tmp/$prefix.token"
hash=$(incus exec "$cp" -- sh -c "openssl x509 -pubkey -in /etc/kubernetes/pki/ca.crt -noout 2>/dev/null | openssl pkey -pubin -outform der 2>/dev/null | sha256sum | cut -d' ' -f1")
incus file push --quiet - "$worker/run/kubeadm.yaml" <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: $endpoint:6443
    token: $(cat "/tmp/$prefix.token")
    caCertHashes: ["sha256:$hash"]
nodeRegistration:
  kubeletExtraArgs: [{name: provider-id, value: "lxc:///$worker"}]
  $ignore
patches: {directory: /etc/kubernetes/patches}
EOF
rm -f "/tmp/$prefix.token"
incus exec "$worker" -- kubeadm join --config /run/kubeadm.yaml >/dev/null 2>&1

kubectl() {
    incus exec "$cp" -- kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"
}
pod_cidr() {
    kubectl get node "$1" -o 'jsonpath={.spec.podCIDR}' | grep .
}
network() {
    local node=$1 own=$2 peer=$3 peer_address=$4
    incus file push --quiet --create-dirs - "$node/etc/cni/net.d/10-by-hand.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "by-hand", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$own"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
    incus exec "$node" -- ip route replace "$peer" via "$peer_address"
    incus exec "$node" -- iptables -t nat -A POSTROUTING -s "$own" '!' -d "$pods" -j MASQUERADE
}
await "pod network of $cp" pod_cidr "$cp"
await "pod network of $worker" pod_cidr "$worker"
cp_pods=$(pod_cidr "$cp")
worker_pods=$(pod_cidr "$worker")
network "$cp" "$cp_pods" "$worker_pods" "$(address "$worker")"
network "$worker" "$worker_pods" "$cp_pods" "$cp_address"
kubectl wait --for=condition=Ready node --all --timeout=120s >/dev/null
