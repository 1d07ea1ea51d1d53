# A second Incus on this machine, behind a proxy. It has a separate
# directory, bridge and small pool, so that it can be killed, restarted, filled and disconnected.
# Sourced by tests/faults.sh.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

faults=/var/lib/capn-t-faults
pool=$faults/pool
bridge=capntf0
incusd_bin=''
for candidate in /usr/libexec/incus/incusd /opt/incus/bin/incusd; do
  if [ -x "$candidate" ]; then incusd_bin=$candidate; break; fi
done
# Large enough for the unpacked nodes and load balancer of a cluster.
pool_size=${CAPN_TEST_POOL_SIZE:-6G}

# incus and capn for the test server.
fincus() { INCUS_DIR=$faults/incus INCUS_CONF=$faults/client incus "$@"; }
fcapn() { INCUS_CONF=$faults/client "$capn_bin" --state-dir "$faults/state" "$@"; }

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

daemon_start() {
  # Prevent downloads: this proxy does not exist.
  INCUS_DIR=$faults/incus HTTPS_PROXY=http://127.0.0.1:1 HTTP_PROXY=http://127.0.0.1:1 \
    setsid "$incusd_bin" --group incus-admin --logfile "$faults/incusd.log" \
    >>"$faults/incusd.out" 2>&1 </dev/null &
  daemon=$!
  fincus admin waitready --timeout 60
}
daemon_gone() { ! pgrep -f "incusd --group incus-admin --logfile $faults/" >/dev/null; }
daemon_end() {
  kill "-$1" "$daemon" || return
  # Its exit code reflects the signal.
  wait "$daemon" 2>/dev/null || true
}

proxy_start() {
  local listen=$1 target=$2
  python3 tests/faults/proxy.py "$listen" "$target" "$faults/counts" >"$faults/proxy.log" 2>&1 </dev/null &
  proxy=$!
}

serve_start() {
  # Not through fcapn: killing a background function only ends its shell.
  INCUS_CONF=$faults/client "$capn_bin" --state-dir "$faults/state" -v serve --listen 127.0.0.1:0 \
    >"$faults/serve.log" 2>&1 </dev/null &
  serve=$!
  until_true 'capn serve to serve' 60 grep -q '^serving' "$faults/serve.log"
}

faults_up() {
  local subnet listen target
  faults_down >/dev/null 2>&1
  mkdir -p "$faults/incus" "$faults/client" "$pool" || return
  truncate -s "$pool_size" "$faults/pool.img" && mkfs.ext4 -q "$faults/pool.img" || return
  mount -o loop "$faults/pool.img" "$pool" || return
  rm -rf "$pool/lost+found"
  daemon_start || { cat "$faults/incusd.log"; return 1; }
  # shellcheck source=tests/lxd-start.sh
  . tests/lxd-start.sh
  subnet=$(lxd_subnet) && listen=$(free_port) && target=$(free_port) || return
  fincus admin init --preseed <<YAML || return
config: {core.https_address: "127.0.0.1:$target"}
networks: [{name: $bridge, type: bridge, config: {ipv4.address: $subnet, ipv4.nat: "true", ipv6.address: none}}]
storage_pools: [{name: default, driver: dir, config: {source: $pool}}]
profiles:
- name: default
  devices:
    root: {type: disk, path: /, pool: default}
    eth0: {type: nic, network: $bridge, name: eth0}
YAML
  proxy_start "$listen" "$target"
  fincus remote generate-certificate || return
  fincus config trust add-certificate "$faults/client/client.crt" || return
  until_true 'the proxy to lead to the server' 30 \
    fincus remote add faults "https://127.0.0.1:$listen" --accept-certificate
}

# Copies images of this machine's Incus with their properties.
faults_images() {
  local alias fingerprint properties
  for alias in capn/node capn/haproxy; do
    "$capn_bin" --state-dir "$scratch/state" image build "${alias#capn/}" || return
    fingerprint=$(incus image list -f csv -c F "$alias") || return
    rm -f "$faults"/image*
    incus image export "$fingerprint" "$faults/image" || return
    readarray -t properties < <(incus query "/1.0/images/$fingerprint" |
      python3 -c 'import json, sys
for item in json.load(sys.stdin)["properties"].items(): print("=".join(item))')
    fincus image import "$faults"/image* --alias "$alias" "${properties[@]}" || return
  done
  rm -f "$faults"/image*
}

# Removes everything, including leftovers of an earlier run.
faults_down() {
  local instance pid
  for pid in "${serve:-}" "${proxy:-}"; do
    if [ -n "$pid" ]; then kill -KILL "$pid" && wait "$pid"; fi 2>/dev/null
  done
  if [ -e "$faults/incus/unix.socket" ]; then
    fincus query /1.0 >/dev/null 2>&1 || daemon_start
    for instance in $(fincus list -f csv -c n); do fincus delete --force "$instance"; done
    for instance in $(fincus image list -f csv -c F); do fincus image delete "$instance"; done
    fincus profile device remove default eth0
    fincus profile device remove default root
    fincus network delete $bridge
    fincus storage delete default
    # The daemon of a killed run is not a child of this process.
    fincus admin shutdown --timeout 60
    wait "${daemon:-}" 2>/dev/null
    until_true 'the Incus of the tests to be gone' 60 daemon_gone
  fi
  if ip link show $bridge >/dev/null 2>&1; then ip link delete $bridge; fi
  for mounted in "$faults/incus/shmounts" "$faults/incus/guestapi" "$faults/incus/devlxd" "$pool"; do
    if mountpoint -q "$mounted"; then umount -l "$mounted"; fi
  done
  rm -rf --one-file-system "$faults"
}
