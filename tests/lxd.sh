# The same nodes on LXD, if it is installed. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

lxd_socket=''
for socket in /var/lib/lxd/unix.socket /var/snap/lxd/common/lxd/unix.socket; do
  if [ -S $socket ] && lxc query /1.0 >/dev/null 2>&1; then lxd_socket=$socket; fi
done
if [ -z "$lxd_socket" ]; then
  skip 'nodes on LXD' 'no LXD responds on this machine'
  return 0
fi
if [ "$(id -u)" != 0 ]; then
  skip 'nodes on LXD' 'building images needs root'
  return 0
fi
cluster=capn-t-lxd
check 'create two nodes on LXD' capn up "$cluster" --bootstrap none --remote "unix://$lxd_socket" --wait 5m
check 'delete the cluster' capn delete cluster "$cluster"
gone() { [ -z "$(lxc list -f csv -c n "user.cluster-name=$cluster")" ]; }
check 'nothing is left on the server' gone
