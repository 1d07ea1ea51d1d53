# Images are built on a real Incus and reused. Sourced by ./test.
# shellcheck shell=bash

check 'a node image is built and imported' capn image build node
check 'a load balancer image is built and imported' capn image build haproxy
is_reused() { capn image build node -o json | has '"reused": true'; }
check 'the same image is not built twice' is_reused
lists_both() { capn image list -o name | has -x capn/node && capn image list -o name | has -x capn/haproxy; }
check 'both are listed' lists_both
