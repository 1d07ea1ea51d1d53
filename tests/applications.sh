# Applications on a cluster of one control plane and two workers, all unprivileged, and Kubernetes' own
# conformance tests, as many as CI has time for. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'applications on a cluster' "$kubernetes_missing"
  return 0
fi
# shellcheck source=tests/applications/lib.sh
. tests/applications/lib.sh
# shellcheck source=tests/applications/userns.sh
. tests/applications/userns.sh
# shellcheck source=tests/conformance/lib.sh
. tests/conformance/lib.sh

cluster=capn-t-apps
app_up() {
  app_leftovers || return 1
  # shellcheck disable=SC2046 # no flag or one
  capn up "$cluster" --workers 2 $(cgroup_flag) --wait 10m
}
check 'a cluster of one control plane and two workers is up' app_up || return 0
check 'the images of the tests are made from programs of this machine' conformance_images || return 0
check 'they are loaded into the nodes' app_images
try_application
try_userns
check 'a node restarts, with no capn running, and every Service and name is answered again' app_restarted userns_root
conformance_check "$cluster" tests/conformance/ci.txt 60
check 'the cluster is deleted' capn delete cluster "$cluster"
