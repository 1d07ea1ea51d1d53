# Images are built on a real Incus and reused. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch is set by ./test

check 'a node image is built and imported' capn image build node
check 'a load balancer image is built and imported' capn image build haproxy
holds() { capn image build node --validate --manifest "$scratch/node.json"; }
check 'the node image holds, unprivileged and privileged' holds
manifest_is_the_images() {
    digest="$(sha256sum "$scratch/node.json" | cut -c 1-64)"
    incus query "/1.0/images?recursion=1" | has "\"capn.manifest\": \"$digest\""
}
check 'its manifest is the one the image names' manifest_is_the_images
check 'its manifest lists containerd' has '"name": "containerd"' "$scratch/node.json"
is_reused() { capn image build node -o json | has '"reused": true'; }
check 'the same image is not built twice' is_reused
lists_both() { capn image list -o name | has -x capn/node && capn image list -o name | has -x capn/haproxy; }
check 'both are listed' lists_both
