# Unprivileged nodes on each kind of storage pool, on separate loop files. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

# make_pool DRIVER: a pool `capn-t-DRIVER` on a loop file (`dir`: in a directory of the server).
make_pool() {
  local driver=$1
  remove_pool "$driver" >/dev/null 2>&1 || true
  case $driver in
    dir) incus storage create capn-t-dir dir ;;
    *) incus storage create "capn-t-$driver" "$driver" size=12GiB ;;
  esac
}

# remove_pool DRIVER: removes the pool with its content.
remove_pool() {
  local pool=capn-t-$1
  incus storage show "$pool" >/dev/null 2>&1 || return 0
  # Volumes of images go with it.
  incus storage delete "$pool"
}

# pool_works DRIVER: prints why this machine does not support the driver, or nothing.
pool_missing() {
  case $1 in
    dir) ;;
    btrfs) command -v mkfs.btrfs >/dev/null || { echo 'mkfs.btrfs is missing: apt-get install btrfs-progs'; return; }
      grep -qw btrfs /proc/filesystems || modprobe btrfs 2>/dev/null || echo 'the kernel has no btrfs' ;;
    lvm) command -v lvcreate >/dev/null || { echo 'lvm is missing: apt-get install lvm2 thin-provisioning-tools'; return; }
      grep -qw device-mapper /proc/misc || modprobe dm_thin_pool 2>/dev/null || echo 'the kernel has no device mapper' ;;
    zfs) command -v zfs >/dev/null || { echo 'zfs is missing'; return; }
      [ -e /dev/zfs ] || modprobe zfs 2>/dev/null || echo 'the kernel has no ZFS' ;;
  esac
}

# on_pool DRIVER: creates a cluster whose Services respond, and deletes it; without Kubernetes, an
# unprivileged node and its load balancer.
on_pool() {
  local pool=capn-t-$1 cluster=capn-t-on-$1 instance
  if [ -n "$kubernetes" ]; then
    # shellcheck disable=SC2046 # flags
    capn up "$cluster" --storage-pool "$pool" $(cgroup_flag) $(wait_flags 10) || return 1
  else
    # shellcheck disable=SC2046 # flags
    capn create cluster "$cluster" --bootstrap none --workers 0 --storage-pool "$pool" $(wait_flags 5) || return 1
  fi
  for instance in $(instances_of "$cluster"); do
    [ "$(incus config device get "$instance" root pool)" = "$pool" ] || { echo "$instance is elsewhere"; return 1; }
  done
  no_door_on_pool "$(instances_of "$cluster" | grep -v -- '-lb$' | head -n 1)" && capn delete cluster "$cluster"
}
# The mount of a node's disk must not be, or look like, an escape vector. That of an old lxcfs is known.
no_door_on_pool() {
  local doors
  doors=$(capn doctor --escape-test "$1" -o name | grep -vx processors-offline)
  [ -z "$doors" ] || { echo "open in $1: $doors"; return 1; }
}

for driver in ${CAPN_TEST_POOLS:-dir btrfs lvm zfs}; do
  missing=$(pool_missing "$driver")
  if [ -n "$missing" ]; then skip "a cluster on a pool of driver $driver" "$missing"; continue; fi
  if check "create a pool with driver $driver" make_pool "$driver"; then
    check "a cluster runs on it ($driver)" on_pool "$driver"
  fi
  check "the pool is removed ($driver)" remove_pool "$driver"
done
no_pool() {
  local text
  if text=$(capn create cluster capn-t-nowhere --bootstrap none --storage-pool capn-t-none 2>&1); then return 1; fi
  has 'storage pool .capn-t-none. does not exist' <<<"$text"
}
check 'a missing pool is refused before anything is created' no_pool
