# A cluster without Kubernetes, end to end: real unprivileged instances. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

cluster=capn-t-none
up_none() { capn up "$cluster" --bootstrap none --wait 5m "$@"; }

check 'create two nodes' up_none
no_host_ids() {
  local instance map
  for instance in $(instances_of "$cluster"); do
    map=$(incus exec "$instance" -- cat /proc/self/uid_map | tr -s ' ')
    case $map in *' 0 0 4294967295'*) echo "$instance uses the host's IDs:$map"; return 1 ;; esac
  done
}
check 'no instance maps the user ids of the host' no_host_ids
nodes_of() { instances_of "$cluster" | grep -v -- '-lb$'; }
settings() {
  local instance setting config
  for instance in $(nodes_of); do
    config=$(incus exec "$instance" -- containerd config dump) || return 1
    for setting in disable_apparmor restrict_oom_score_adj disable_hugetlb_controller; do
      grep -q "$setting = true" <<<"$config" || { echo "$instance: $setting is not set"; return 1; }
    done
  done
}
check 'containerd runs with the three settings of a user namespace' settings
visible() {
  local instance
  for instance in $(nodes_of); do
    incus exec "$instance" -- systemctl status containerd --no-pager -n 50 | has -i unprivileged || return 1
  done
}
check 'systemctl status containerd shows the configuration' visible
proves() { up_none -o json | has '"sandbox": "'; }
check 'a pod sandbox runs through CRI in each instance' proves
unchanged() { up_none -o json | has '"changed": false'; }
check 'the same command again changes nothing' unchanged
own_network() { incus network list -f csv | grep "cluster default/$cluster"; }
check 'it has a dedicated network' own_network
different() {
  local text
  if text=$(up_none --isolation privileged 2>&1); then return 1; fi
  grep -q -- '--isolation is [a-z]*, not privileged' <<<"$text" && grep -q "capn delete cluster $cluster" <<<"$text"
}
check 'a different cluster with the same name is refused with a hint' different
foreign() {
  local text
  if text=$("$capn_bin" --state-dir "$scratch/other" up "$cluster" --bootstrap none 2>&1); then return 1; fi
  grep -q 'is unknown to' <<<"$text"
}
check 'instances of another state directory are not touched' foreign
lists() { capn get machines "$cluster" | has "$cluster-control-plane-0" && capn describe cluster "$cluster" | has 'LXCMachine/'; }
check 'get and describe show the machines' lists
scales() { capn scale "$cluster" --workers 2 --wait 3m && [ "$(capn get machines "$cluster" -o name | wc -l)" = 3 ]; }
check 'add a worker' scales
check 'delete the cluster' capn delete cluster "$cluster"
gone() { [ -z "$(instances_of "$cluster")" ] && if own_network; then return 1; fi; }
check 'nothing is left on the server' gone
again() { capn delete cluster "$cluster" 2>&1 | has 'nothing to delete'; }
check 'deleting a missing cluster is not an error' again

# kill -9 at some point; the same command finishes the work.
killed_create() {
  local delay
  for delay in 0.5 1.5 3; do
    timeout -s KILL $delay "$capn_bin" --state-dir "$scratch/state" up "$cluster" --bootstrap none >/dev/null 2>&1
  done
  up_none
}
check 'the same command finishes a killed create' killed_create
killed_delete() {
  local delay
  for delay in 0.3 1; do
    timeout -s KILL $delay "$capn_bin" --state-dir "$scratch/state" delete cluster "$cluster" >/dev/null 2>&1
  done
  capn delete cluster "$cluster" && gone
}
check 'the same command finishes a killed delete' killed_delete
