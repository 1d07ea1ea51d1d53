# Installs, starts and sets up LXD next to Incus. Sourced by ./test --install.
# shellcheck shell=bash

# If LXD is only available as a snap, it is not installed: tests should not install snapd.
lxd_start() {
  lxc query /1.0 >/dev/null 2>&1 && return 0
  if ! command -v lxd >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends lxd || return
  fi
  # Its package adds a second id range for root, which prevents unprivileged instances from starting.
  local file
  for file in /etc/subuid /etc/subgid; do sed -i '0,/^root:/!{/^root:/d}' "$file" || return; done
  setsid lxd --group lxd >/var/log/lxd.log 2>&1 </dev/null &
  lxd waitready --timeout 120 || return
  if [ -z "$(lxc profile device list default)" ]; then
    local subnet
    subnet=$(lxd_subnet) || return
    lxd init --preseed <<YAML
networks: [{name: lxdbr0, type: bridge, config: {ipv4.address: $subnet, ipv4.nat: "true", ipv6.address: none}}]
storage_pools: [{name: default, driver: dir}]
profiles:
- name: default
  devices:
    root: {type: disk, path: /, pool: default}
    eth0: {type: nic, network: lxdbr0, name: eth0}
YAML
  fi
}

# A subnet without a route on this machine.
lxd_subnet() {
  local third
  for third in $(seq 166 199); do
    if ! ip -4 route show match "10.$third.0.1" | has -v '^default'; then
      echo "10.$third.0.1/24"
      return
    fi
  done
  echo 'no free subnet for lxdbr0' >&2
  return 1
}
