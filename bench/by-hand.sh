#!/usr/bin/env bash
# A cluster made with nothing but `incus`, `kubeadm` and `kubectl`, as fast as that goes by hand: what
# `capn up` is measured against. The same image, the same settings, the same end: all nodes Ready, pods
# of one node reach pods of another, and a Service answers by its DNS name.
#
#   by-hand.sh up   PREFIX NODE-IMAGE HAPROXY-IMAGE CONTROL-PLANES WORKERS [cgroup-v1]
#   by-hand.sh none PREFIX NODE-IMAGE HAPROXY-IMAGE CONTROL-PLANES WORKERS
#   by-hand.sh down PREFIX
#
# Says `ready SECONDS` when all nodes are Ready, and `answer SECONDS` when the Service has answered,
# both counted from its start. `none` ends when containerd runs in all instances.
set -euo pipefail

verb=$1
prefix=$2

if [ "$verb" = down ]; then
    mapfile -t instances < <(incus list --format csv --columns n "user.by-hand=$prefix")
    if [ "${#instances[@]}" -gt 0 ]; then incus delete --force "${instances[@]}"; fi
    exit 0
fi

node_image=$3
haproxy_image=$4
control_planes=()
for number in $(seq "$5"); do control_planes+=("$prefix-cp-$number"); done
workers=()
for number in $(seq "$6"); do workers+=("$prefix-worker-$number"); done
nodes=("${control_planes[@]}" "${workers[@]}")
cgroup_v1=${7:-}

first=${control_planes[0]}
lb=$prefix-lb
pods=10.244.0.0/16
services=10.96.0.0/12
api=10.96.0.1
dns=10.96.0.10
modules=ip_vs,ip_vs_rr,ip_vs_wrr,ip_vs_sh,ip_tables,ip6_tables,iptable_raw,netlink_diag,nf_nat,overlay,br_netfilter,xt_socket

logs=$(mktemp -d)
# What still runs may be about to make an instance that `down` would not see.
end() {
    if [ -n "${watcher:-}" ]; then kill "$watcher" 2>/dev/null || :; fi
    if [ -n "${initialized:-}" ]; then flock --unlock "$initialized"; fi
    wait
    rm -rf "$logs"
}
trap end EXIT

began=${EPOCHREALTIME/./}
say() {
    local took=$((${EPOCHREALTIME/./} - began))
    printf '%s %d.%d\n' "$1" $((took / 1000000)) $((took / 100000 % 10))
}

# Polls CONDITION ten times a second, for at most five minutes.
await() {
    local what=$1 until=$((SECONDS + 300))
    shift
    while ((SECONDS < until)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        read -rt 0.1 <> <(:) || :
    done
    echo "by-hand: $what did not come about in five minutes" >&2
    return 1
}

# Runs a command whose output is shown only when it fails.
quietly() {
    local log=$logs/$1
    shift
    if "$@" >"$log" 2>&1; then return 0; fi
    echo "by-hand: $* failed:" >&2
    tail -n 20 "$log" >&2
    return 1
}

address() {
    incus query "/1.0/instances/$1/state" |
        jq -er '.network.eth0.addresses[] | select(.family == "inet" and .scope == "global") | .address'
}

launch() {
    incus launch "$1" "$2" -c user.by-hand="$prefix" -c user.cluster-role="$3" --quiet "${@:4}"
}

launch_node() {
    local arguments=(-c security.nesting=true)
    # Where the server's host has no loadable modules the key would keep the node from starting.
    if [ -d /lib/modules ]; then arguments+=(-c "linux.kernel_modules=$modules"); fi
    launch "$node_image" "$1" "$2" "${arguments[@]}"
}

# Waits until kubeadm can run in a node.
boot() {
    await "address of $1" address "$1"
    if [ "$verb" = up ]; then patch "$1"; fi
    await "containerd of $1" incus exec "$1" -- systemctl is-active containerd
}

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
evictionHard: {imagefs.available: "0%", imagefs.inodesFree: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
failSwapOn: false
featureGates: {KubeletInUserNamespace: true}
$fail_cgroup_v1
EOF
}

# Makes the named nodes the backends of the load balancer.
balance() {
    {
        cat <<EOF
defaults
    mode tcp
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend control-plane
    bind *:6443
    default_backend control-plane
backend control-plane
EOF
        for node in "$@"; do echo "    server $node $(address "$node"):6443 check"; done
    } | incus file push --quiet - "$lb/etc/haproxy/haproxy.cfg"
    await "haproxy of $lb" incus exec "$lb" -- systemctl reload haproxy
}

hex() {
    od -An -vtx1 -N "$1" /dev/urandom | tr -d ' \n'
}
# Known beforehand, so that nobody has to be asked for them.
token=$(hex 3).$(hex 8)
certificate_key=$(hex 32)

kubeadm() {
    local node=$1
    shift
    # shellcheck disable=SC2016 # "$@" is for the shell in the node
    quietly "$node" incus exec "$node" -- \
        sh -c 'cat >/run/kubeadm.yaml && exec kubeadm "$@" --config /run/kubeadm.yaml' kubeadm "$@"
}
join() {
    local hash control_plane=""
    hash=$(grep -om1 'sha256:[0-9a-f]\{64\}' "$logs/$first")
    if [ "$2" = control-plane ]; then control_plane="controlPlane: {certificateKey: \"$certificate_key\"}"; fi
    kubeadm "$1" join <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {apiServerEndpoint: "$(address "$lb"):6443", token: "$token", caCertHashes: ["$hash"]}
nodeRegistration:
  kubeletExtraArgs: [{name: provider-id, value: "lxc:///$1"}]
  $ignore
patches: {directory: /etc/kubernetes/patches}
$control_plane
EOF
}

launch_balancer() {
    launch "$haproxy_image" "$lb" loadbalancer
    await "address of $lb" address "$lb"
}
launch_balancer &
balancer=$!
launch_node "$first" control-plane

# The others are made while the first control plane boots and initializes, and join as soon as it has:
# the lock is held until then.
exec {initialized}>"$logs/initialized"
flock "$initialized"
add() {
    launch_node "$1" "$2"
    boot "$1"
    if [ "$verb" = up ]; then
        flock --shared "$logs/initialized" true
        join "$1" "$2"
    fi
}
jobs=()
for node in "${control_planes[@]:1}"; do
    add "$node" control-plane &
    jobs+=("$!")
done
for node in "${workers[@]}"; do
    add "$node" worker &
    jobs+=("$!")
done

boot "$first"
wait "$balancer"
balance "$first"
endpoint=$(address "$lb")

if [ "$verb" = none ]; then
    for job in "${jobs[@]}"; do wait "$job"; done
    say ready
    exit 0
fi

version=$(incus exec "$first" -- kubeadm version -o short)
kubeadm "$first" init --upload-certs <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: "$token"}]
certificateKey: "$certificate_key"
nodeRegistration:
  kubeletExtraArgs: [{name: provider-id, value: "lxc:///$first"}]
  $ignore
patches: {directory: /etc/kubernetes/patches}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $version
clusterName: $prefix
controlPlaneEndpoint: $endpoint:6443
networking: {podSubnet: $pods, serviceSubnet: $services}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
EOF
flock --unlock "$initialized"

kubectl() {
    incus exec "$first" -- kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"
}
# Pods of a node are connected as soon as it is known which addresses they have. Packets for a Service
# that kube-proxy does not know yet are refused: CoreDNS may start earlier, and without an answer it
# would ask for the API server again after 30 seconds only.
connect() {
    incus exec "$1" -- sh -c "iptables -A FORWARD -d $services -j REJECT &&
        iptables -A OUTPUT -d $services -j REJECT &&
        iptables -t nat -A POSTROUTING -s $2 ! -d $pods -j MASQUERADE &&
        cat >/etc/cni/net.d/10-by-hand.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "by-hand", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$2"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
}
declare -A subnet=()
connects=()
until=$((SECONDS + 300))
exec {watch}< <(kubectl get nodes --watch --no-headers \
    -o custom-columns=NAME:.metadata.name,PODS:.spec.podCIDR)
watcher=$!
while ((${#subnet[@]} < ${#nodes[@]} && SECONDS < until)) && read -rt 120 -u "$watch" node own; do
    if [ "$own" = "<none>" ] || [ -n "${subnet[$node]:-}" ]; then continue; fi
    subnet[$node]=$own
    connect "$node" "$own" &
    connects+=("$!")
done
kill "$watcher"
watcher=""
for job in "${jobs[@]}" "${connects[@]}"; do wait "$job"; done
if ((${#subnet[@]} < ${#nodes[@]})); then
    echo "by-hand: only ${!subnet[*]} of ${nodes[*]} were given addresses for pods" >&2
    exit 1
fi

declare -A at=()
for node in "${nodes[@]}"; do at[$node]=$(address "$node"); done
route() {
    local commands=:
    for peer in "${nodes[@]}"; do
        if [ "$peer" != "$1" ]; then
            commands+=" && ip route replace ${subnet[$peer]} via ${at[$peer]}"
        fi
    done
    incus exec "$1" -- sh -c "$commands"
}
routes=()
for node in "${nodes[@]}"; do
    route "$node" &
    routes+=("$!")
done
if [ "${#control_planes[@]}" -gt 1 ]; then balance "${control_planes[@]}"; fi
for job in "${routes[@]}"; do wait "$job"; done
kubectl wait --for=condition=Ready node --all --timeout=300s >/dev/null
say ready

# Ten times a second, until the answer is the address of the Service: before kube-proxy has its rules
# the question leaves the node, and somebody else may answer it.
incus exec "$first" -- python3 - "$dns" "$api" <<'EOF'
import socket, struct, sys, time

dns, api = sys.argv[1:]
name = "kubernetes.default.svc.cluster.local"
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
question = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + labels + struct.pack(">B2H", 0, 1, 1)
until = time.monotonic() + 300
while time.monotonic() < until:
    begin = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.1)
        try:
            asking.connect((dns, 53))
            asking.send(question)
            if asking.recv(512).endswith(socket.inet_aton(api)):
                sys.exit(0)
        except OSError:
            pass
    time.sleep(max(0, begin + 0.1 - time.monotonic()))
sys.exit(f"by-hand: {dns} did not answer {name} in five minutes")
EOF
say answer
