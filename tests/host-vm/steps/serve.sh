# capn serve as the unit of the Debian package. Sourced by inside.
# shellcheck shell=bash disable=SC2154,SC2329,SC2015 # of inside; called by check

cluster=capn-t-serve state=/var/lib/capn/state
if [ ! -f "$given/capn/capn.deb" ]; then
  skip 'capn serve as a unit' 'the Debian package was not built'
  return 0
fi
served() { /usr/bin/capn --state-dir $state "$@"; }
installed() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --reinstall "$given/capn/capn.deb"; }
check 'install the Debian package' installed
off() { ! systemctl is-enabled capn && ! systemctl is-active capn; }
check 'the installation does not enable its unit' off
started() {
  systemctl enable --now capn && until_true 'the plane is served' 30 test -s $state/plane.kubeconfig &&
    systemctl is-active capn || { journalctl -u capn -n 20 --no-pager; return 1; }
}
check 'the unit starts and serves the plane' started
made() {
  # shellcheck disable=SC2046 # flags
  served up "$cluster" --bootstrap none --workers 1 $(wait_flags 5)
}
check 'create a cluster through it' made || journalctl -u capn -n 20 --no-pager
worker() { instances_of "$cluster" | grep -- -md- | head -n 1; }
runs() { [ "$(incus list -f csv -c s "^$1\$")" = RUNNING ]; }
mended() {
  local instance
  instance=$(worker)
  incus stop --force "$instance" && until_true "$instance runs again" 60 runs "$instance"
}
check 'the unit restarts a stopped instance' mended
check 'delete the cluster' served delete cluster "$cluster"
ended() { systemctl stop capn && [ "$(systemctl show -P Result capn)" = success ]; }
check 'the unit stops cleanly' ended
calm() { ! journalctl -u capn --no-pager | grep -E 'panic|Operation not permitted|Permission denied|Read-only file system'; }
check 'its log reports no refused request' calm
systemctl -q disable capn
