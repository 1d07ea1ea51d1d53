# Pods with `hostUsers: false`. The caller sets `cluster` and has sourced lib.sh. Sourced by sections of
# ./test.
# shellcheck shell=bash disable=SC2154,SC2016 # scratch and capn_bin are set by ./test

# The node of the Deployment `one`, which is restarted later.
userns_node() { app_kubectl get pods -l app=one -o jsonpath='{.items[0].spec.nodeName}'; }
userns_deploy() {
  sed -e "s|AGNHOST|$(app_agnhost)|" -e "s|NODE|$(userns_node)|" tests/applications/userns.yaml |
    app_kubectl apply -f - &&
    app_kubectl wait --for=condition=Ready pod/userns-root pod/userns-group --timeout $((120 * patience))s
}
# userns_in POD CONTAINER SCRIPT : the exit code of its last command is the result.
userns_in() { app_kubectl exec "$1" -c "$2" -- bash -c "set -e; is() { [ \"\$1\" = \"\$2\" ] || { echo \"\$1 is not \$2\"; exit 1; }; }; $3" </dev/null; }

userns_root() {
  userns_in userns-root root '
    is "$(stat -c %u:%g:%a /disk)" 0:0:777
    [ "$(stat -f -c %T /disk)" != tmpfs ]
    is "$(stat -f -c %T /memory)" tmpfs
    is "$(cat /config/key) $(stat -L -c %u:%a /config/key)" "of-the-map 0:400"
    is "$(cat /config-key) $(cat /secret/key) $(cat /about/name)" "of-the-map of-the-secret userns-root"
    for file in hosts hostname resolv.conf; do is "$(stat -c %u:%g /etc/$file)" 0:0; done
    is "$(stat -c %u /dev/termination-log /sub /etc/passwd /bin | sort -u)" 0
    echo "127.0.0.9 added" >>/etc/hosts
    echo of-root | tee /disk/root /sub/root /memory/root >/dev/null
    chown 1000:1000 /disk/root
    [ -s /var/run/secrets/kubernetes.io/serviceaccount/token ]
    ! cat /proc/1/uid_map | grep -q "^ *0 *0 "
    [ -n "$(dig +short kubernetes.default.svc.cluster.local)" ]'
}
userns_user() {
  userns_in userns-root user '
    is "$(id -u)" 1000
    is "$(stat -c %u:%g /disk/root)" 1000:1000
    is "$(cat /sub/root /memory/root)" "of-root
of-root"
    echo of-user | tee /disk/user /disk/root >/dev/null
    ! cat /config/key /secret/key 2>/dev/null' &&
    userns_in userns-root root 'is "$(stat -c %u:%g /disk/user) $(cat /disk/user)" "1000:1000 of-user"'
}
userns_group() {
  userns_in userns-group user '
    id -G | grep -qw 2000
    is "$(stat -c %u:%g /disk)" 0:2000
    is "$(stat -L -c %u:%g /config/key /secret/key | sort -u)" 0:2000
    is "$(cat /config/key) $(cat /secret/key)" "of-the-map of-the-secret"
    echo of-group >/disk/group
    is "$(stat -c %u:%g /disk/group)" 1000:2000'
}
userns_logs() { app_kubectl logs userns-root -c root | has -i http; }
userns_ended() {
  local said
  app_kubectl wait --for=jsonpath='{.status.phase}'=Failed pod/userns-end --timeout $((60 * patience))s || return 1
  said=$(app_kubectl get pod userns-end -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.message}')
  [ "$said" = '3 last words' ] || { echo "it says: $said"; return 1; }
  [ "$(app_kubectl logs userns-end)" = 'a line' ]
}
userns_map() { app_kubectl exec "$1" -- cat /proc/self/uid_map </dev/null | awk '{print $2, $2 + $3}'; }
# Ids of pods are above the node's first 65536, and no two pods share one.
userns_disjoint() {
  local one other
  one=$(userns_map userns-root) other=$(userns_map userns-group)
  echo "userns-root has $one, userns-group has $other"
  awk -v one="$one" -v other="$other" 'BEGIN {
    split(one, a); split(other, b)
    exit !(a[1] >= 65536 && b[1] >= 65536 && (a[2] <= b[1] || b[2] <= a[1]))
  }'
}
# An exited container is restarted in the same pod.
userns_restarts() { [ "$(app_kubectl get pod userns-root -o jsonpath='{.status.containerStatuses[?(@.name=="root")].restartCount}')" -ge 1 ]; }
userns_again() {
  app_kubectl exec userns-root -c root -- kill 1 </dev/null
  until_true 'the container is started again' 60 userns_restarts &&
    app_kubectl wait --for=condition=Ready pod/userns-root --timeout $((60 * patience))s &&
    userns_root
}
# Escape vectors from the pod to node and host, for root in the pod.
userns_doors() { capn doctor --escape-test "$(userns_node)" --pod default/userns-root; }
# The same tests find open escape vectors if the pod is in the node's user namespace.
userns_doors_without() {
  local pod doors
  pod=$(app_kubectl get pods -l app=client --field-selector "spec.nodeName=$(userns_node)" -o jsonpath='{.items[0].metadata.name}')
  doors=$(capn doctor --escape-test "$(userns_node)" --pod "default/$pod" -o name) && return 1
  has -x initial-user-namespace <<<"$doors" || { echo "open: $doors"; return 1; }
}

# try_userns : runs all checks.
try_userns() {
  check 'pods with hostUsers: false run next to others' userns_deploy || return 1
  check 'root in such a pod owns its files and can use all volume types and DNS' userns_root
  check 'another user in the pod shares an emptyDir on disk' userns_user
  check 'fsGroup sets the group of its volumes' userns_group
  check 'exec, logs, exit code and termination message' eval 'userns_logs && userns_ended'
  check 'two such pods on a node share no ids' userns_disjoint
  check 'a container that exits is restarted with its files' userns_again
  check 'no escape vector to node or host is open in such a pod' userns_doors
  check 'the same tests find an open escape vector in a pod without it' userns_doors_without
}
