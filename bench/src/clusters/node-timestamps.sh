# When what happened in this node: lines of a key and seconds since 1970. What did not happen has no line.

# KEY FILE...: when the youngest of the files was last written.
written() {
    key=$1
    shift
    seconds=$(stat -c %.9Y "$@" 2>/dev/null | sort -n | tail -n 1)
    [ -z "$seconds" ] || echo "$key=$seconds"
}
# KEY TIME: a moment that is written in another way.
moment() {
    [ -z "$2" ] || date -d "$2" "+$1=%s.%N" 2>/dev/null
}
# KEY PROPERTY [UNIT]: a moment that systemd knows, of itself or of a unit.
unit() {
    key=$1 property=$2
    shift 2
    moment "$key" "$(systemctl show "$@" -p "$property" --value --timestamp=us+utc 2>/dev/null)"
}
container() {
    id=$(crictl ps -a -q --name "^$2\$" 2>/dev/null | tail -n 1)
    [ -z "$id" ] || moment "$1" "$(crictl inspect -o go-template --template '{{.status.startedAt}}' "$id")"
}
# KEY JSONPATH ARGUMENT...: a moment that the API server knows, in whole seconds.
object() {
    key=$1 path=$2
    shift 2
    moment "$key" "$(kubectl --request-timeout=10s get "$@" -o "jsonpath=$path" 2>/dev/null)"
}

# The root is the first folder that is unpacked, and those of /var the last: no boot adds to /var itself.
echo "unpack=$(stat -c %.9W /)"
echo "unpacked=$(stat -c %.9Z /var)"
unit systemd UserspaceTimestamp
written address /run/systemd/netif/leases/*
unit containerd ActiveEnterTimestamp containerd.service
[ ! -s /run/cloud-init/status.json ] || echo "cloud-init=$(tr -d ' \n' </run/cloud-init/status.json)"

cd /etc/kubernetes 2>/dev/null || exit 0
[ ! -e pki/apiserver.crt ] || written certs pki/*.crt pki/etcd/*.crt
written kubeconfig controller-manager.conf scheduler.conf
written etcd-manifest manifests/etcd.yaml
written manifests manifests/kube-*.yaml
written kubelet-config /var/lib/kubelet/config.yaml
# systemd itself knows the last start only, and kubeadm init starts kubelet twice.
started=$(journalctl -u kubelet.service _PID=1 -o short-unix --no-pager 2>/dev/null | grep -m1 ' Started ')
[ -z "$started" ] || echo "kubelet=${started%% *}"
[ ! -e manifests/etcd.yaml ] || container etcd etcd
[ ! -e manifests/kube-apiserver.yaml ] || container kube-apiserver kube-apiserver
# Only kubeadm init leaves this file.
if [ -e super-admin.conf ]; then
    object upload-config '{.metadata.creationTimestamp}' configmap kubeadm-config -n kube-system --kubeconfig admin.conf
    unit kubelet-again ActiveEnterTimestamp kubelet.service
fi
written kubelet-conf kubelet.conf
written sentinel /run/cluster-api/bootstrap-success.complete
# The folder's own time: the file in it may be written again.
if ls /etc/cni/net.d/*.conflist >/dev/null 2>&1; then written cni /etc/cni/net.d; fi
[ ! -e kubelet.conf ] ||
    object ready '{.status.conditions[?(@.type=="Ready")].lastTransitionTime}' node "$(hostname)" --kubeconfig kubelet.conf
exit 0
