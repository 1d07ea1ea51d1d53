# The cluster of quickstart after a reboot, without capn running. Sourced by inside.
# shellcheck shell=bash disable=SC2154,SC2329 # of inside; called by check

alone() { ! pgrep -x capn; }
check 'no capn runs' alone
running() { until_true "every instance of $cluster runs" 120 all_run; }
all_run() { ! incus list -f csv -c s "user.cluster-name=$cluster" | grep -v RUNNING; }
check 'every instance is running again' running
nodes() { app_within 300 'nodes are Ready' app_ready; }
check 'the API server responds, and nodes are Ready' nodes
if app_kubectl get deployment web >/dev/null 2>&1; then
  again() { app_ready && app_settled && app_everywhere 3 && app_names && app_udp; }
  answers() { app_within 300 'every Service and DNS name responds again' again; }
  check 'every Service and DNS name responds again' answers
else
  skip 'Services answer again' 'there is no application: the application step creates it'
fi
