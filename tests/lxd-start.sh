# Installs LXD, starts it and sets it up, beside Incus. Sourced by ./test --install.
# shellcheck shell=bash

# Where only a snap of it exists, LXD is not installed: a test should not bring snapd.
lxd_start() {
  lxc query /1.0 >/dev/null 2>&1 && return 0
  if ! command -v lxd >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends lxd || return
  fi
  # Its package gives root a second range of ids, with which no unprivileged instance starts.
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

# A subnet that no route of this machine leads to.
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
