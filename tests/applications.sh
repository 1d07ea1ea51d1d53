# Applications on an unprivileged cluster with one control plane and two workers, and as many Kubernetes
# conformance tests as CI has time for. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

kubernetes_tests_for 'applications on a cluster' || return 0
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
check 'create a cluster with one control plane and two workers' app_up || return 0
check 'build the test images from local programs' conformance_images || return 0
check 'load them into the nodes' app_images
try_application
try_userns
check 'after a node restart without capn, every Service and DNS name responds again' app_restarted userns_root
conformance_check "$cluster" tests/conformance/ci.txt 60
check 'delete the cluster' capn delete cluster "$cluster"
