# The quickstart command on a configured server. Sourced by ./test.
# shellcheck shell=bash disable=SC2154,SC2119,SC2120 # scratch and capn_bin are set by ./test; quick is called by check

quick() { XDG_STATE_HOME=$scratch/quick CAPN_BIN=$capn_bin ./quickstart --yes --name capn-t-qs "$@"; }
comes_up() { quick 2>&1 | tee "$scratch/quick.log" && has 'capn delete cluster capn-t-qs' "$scratch/quick.log"; }
check 'quickstart creates a cluster and prints the next commands' comes_up
unchanged() { quick 2>&1 | has 'nothing was changed'; }
check 'quickstart again changes nothing and reports it' unchanged
check 'quickstart --delete deletes the cluster' quick --delete
gone() { [ -z "$(instances_of capn-t-qs)" ]; }
check 'nothing is left on the server' gone
