# Builds images on a real Incus and reuses them. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch is set by ./test

check 'build and import a node image' capn image build node
check 'build and import a load balancer image' capn image build haproxy
holds() { capn image build node --validate --manifest "$scratch/node.json"; }
check 'the node image passes validation, unprivileged and privileged' holds
manifest_is_the_images() {
    digest="$(sha256sum "$scratch/node.json" | cut -c 1-64)"
    incus query "/1.0/images?recursion=1" | has "\"capn.manifest\": \"$digest\""
}
check 'its manifest matches the image' manifest_is_the_images
check 'its manifest lists containerd' has '"name": "containerd"' "$scratch/node.json"
is_reused() { capn image build node -o json | has '"reused": true'; }
check 'the same image is not built twice' is_reused
lists_both() { capn image list -o name | has -x capn/node && capn image list -o name | has -x capn/haproxy; }
check 'both are listed' lists_both
# Package archives would make up a fifth of a load balancer image.
no_archives() {
  local alias file
  for alias in capn/node capn/haproxy; do
    file=/var/lib/incus/images/$(incus query "/1.0/images/aliases/$alias" | sed -nE 's/.*"target": "([0-9a-f]+)".*/\1/p').rootfs
    [ -s "$file" ] && unsquashfs -ll "$file" >"$scratch/files" || return 1
    if has '\.deb$' "$scratch/files"; then echo "$alias holds package archives"; return 1; fi
  done
}
check 'no image contains package archives' no_archives
