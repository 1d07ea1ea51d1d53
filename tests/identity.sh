# Identities for management clusters and tenants, on each server of this machine. Sourced by
# ./test. A server that does not listen yet listens on loopback during the test.
# shellcheck shell=bash disable=SC2154 # scratch is set by ./test

# identity_on CLIENT SOCKET NETWORK
identity_on() {
  local client=$1 remote=unix://$2 network=$3 name=capn-t-id-$1 was
  was=$("$client" config get core.https_address)
  local listen=()
  [ -n "$was" ] || listen=(--listen 127.0.0.1:18443)
  refused() { ! capn identity create "$name" --remote "$remote" && [ ! -e "$scratch/state/identities/$name.json" ]; }
  silent() { ! capn identity create "$name" --restricted --project "$name" --remote "$remote" 2>"$scratch/silent" && has 'core.https_address' "$scratch/silent"; }
  create() { capn identity create "$name" --restricted --project "$name" --remote "$remote" "$@"; }
  first() { create --instances 4 "${listen[@]}" >"$scratch/first.yaml" 2>"$scratch/doors"; }
  doors() { has -- "✓ can create an unprivileged container" "$scratch/doors" && ! has -- "✗" "$scratch/doors" && [ "$(grep -c '✓ cannot' "$scratch/doors")" -ge 13 ]; }
  again() { create >"$scratch/second.yaml" && cmp "$scratch/first.yaml" "$scratch/second.yaml"; }
  limits() { [ "$("$client" project get "$name" limits.instances)" = 4 ] && [ "$("$client" project get "$name" restricted)" = true ] && [ "$("$client" project get "$name" restricted.networks.access)" = "$network" ]; }
  mended() { "$client" project set "$name" restricted.containers.lowlevel=allow && create >"$scratch/second.yaml" && [ "$("$client" project get "$name" restricted.containers.lowlevel)" = block ]; }
  applied() { create --apply | has "secret/$name created" && create --apply | has "secret/$name unchanged"; }
  deleted() { capn identity delete "$name" --with-project && ! "$client" project list -f csv | has "^$name," && ! "$client" config trust list -f csv | has "$name"; }
  check "$client: a socket is refused for a manager in a pod" refused
  [ -n "$was" ] || check "$client: a server that does not listen is an error with a hint" silent
  check "$client: a restricted project and identity are created" first || return 0
  check "$client: all access checks with the certificate pass" doors
  check "$client: the requested limits are set" limits
  check "$client: the same command prints the same Secret" again
  check "$client: a lifted restriction is restored" mended
  check "$client: the Secret is applied to the plane once" applied
  check "$client: certificate, project and Secret are deleted" deleted
  check "$client: deleting again succeeds" capn identity delete "$name"
  [ -n "$was" ] || check "$client: the server no longer listens" "$client" config unset core.https_address
}

if incus query /1.0 >/dev/null 2>&1 && [ -S /var/lib/incus/unix.socket ]; then
  identity_on incus /var/lib/incus/unix.socket incusbr0
else
  skip 'identities on Incus' 'no Incus responds at /var/lib/incus/unix.socket'
fi
if lxc query /1.0 >/dev/null 2>&1 && [ -S /var/lib/lxd/unix.socket ]; then
  identity_on lxc /var/lib/lxd/unix.socket lxdbr0
else
  skip 'identities on LXD' 'no LXD responds at /var/lib/lxd/unix.socket'
fi
