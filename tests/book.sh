# The commands of the book's first pages, typed as they stand, on a real server. Sourced by ./test.
# What is shown in blocks of `sh` is run; blocks of `text` are what it prints. The name `demo` is replaced by one of the
# tests', and the image of the page by a stand-in, since nothing is pulled here.
# shellcheck shell=bash disable=SC2154,SC2016 # scratch, capn_bin and kubernetes are set by ./test

if [ -z "$kubernetes" ]; then
  skip 'the first pages of the book' "$kubernetes_missing"
  return 0
fi
# shellcheck source=tests/applications/lib.sh
. tests/applications/lib.sh
# shellcheck source=tests/conformance/lib.sh
. tests/conformance/lib.sh

cluster=capn-t-book
# install.md is what ./test quickstart runs.
book_pages=(first-cluster application upgrade stop-and-delete)

# book_script PAGE: its commands, with the names of the tests.
book_script() {
  sed -n '/^```sh$/,/^```$/p' "docs/start/$1.md" | grep -v '^```' | sed -E "s/\bdemo\b/$cluster/g"
}
# The image that the page of the application names, from the images of the tests, in every node.
book_image() {
  local name node stand_in
  name=$(sed -n 's/^ *image: //p' docs/start/application.md)
  stand_in=$(cut -d' ' -f1 <<<"$(grep '/nginx:' "$test_images.names" | tail -n 1)")
  [ -n "$stand_in" ] || { echo 'there is no stand-in for nginx'; return 1; }
  for node in $(app_nodes); do
    incus exec "$node" -- ctr -n k8s.io images import - <"$test_images" >/dev/null || return 1
    incus exec "$node" -- ctr -n k8s.io images tag --force "$stand_in" "$name" >/dev/null || return 1
  done
}
# book_page PAGE: runs it in a shell of its own, in a home of its own; what fails ends it.
book_page() {
  local wrapper=$scratch/book/bin/capn
  mkdir -p "$scratch/book/bin" "$scratch/book/home"
  {
    printf '#!/bin/sh\ncommand=$1\n'
    printf 'if [ "$command" = up ]; then set -- "$@" %s; fi\n' "$(cgroup_flag) --wait $((10 * patience))m"
    printf 'exec %q --state-dir %q "$@"\n' "$capn_bin" "$scratch/state"
  } >"$wrapper"
  chmod +x "$wrapper"
  book_script "$1" >"$scratch/book/$1.sh"
  [ -s "$scratch/book/$1.sh" ] || { echo "docs/start/$1.md shows no command"; return 1; }
  (cd "$scratch/book" && env -u KUBECONFIG HOME="$scratch/book/home" CAPN_KUBERNETES_BINARIES="$kubernetes" \
    PATH="$scratch/book/bin:$kubernetes:$PATH" bash -eux "$1.sh")
}

app_leftovers
check 'the images of the tests are made from programs of this machine' conformance_images || return 0
for page in "${book_pages[@]}"; do
  if [ "$page" = application ]; then
    check 'the image of the application is in every node' book_image || break
  fi
  # The version of the page is the one that runs, so that nothing is replaced; ./test upgrade does the rest.
  if [ "$page" = upgrade ] && ! has "$("$kubernetes/kubeadm" version -o short)" docs/start/upgrade.md; then
    skip 'every command of docs/start/upgrade.md' "it names another version than $("$kubernetes/kubeadm" version -o short)"
    continue
  fi
  check "every command of docs/start/$page.md works" book_page "$page" || break
done
book_gone() { [ -z "$(instances_of "$cluster")" ]; }
check 'nothing of the cluster is left' book_gone || capn delete cluster "$cluster"
