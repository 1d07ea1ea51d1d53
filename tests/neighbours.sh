# Attacks of root in a node of one cluster on addresses of another cluster. Sourced by ./test.
# shellcheck shell=bash disable=SC2154,SC2016 # scratch and capn_bin are set by ./test

# The clusters of the attacker and of the victims.
near=capn-t-near far=capn-t-far
near_up() { capn up "$near" --bootstrap none --workers 0 --wait 5m "$@"; }
far_up() { capn up "$far" --bootstrap none --workers 0 --wait 5m "$@"; }
near_node() { instances_of "$1" | grep -v -- '-lb$'; }
near_balancer() { instances_of "$1" | grep -- '-lb$'; }
near_address() { incus list -f csv -c 4 "^$1\$" | tr ' ' '\n' | grep -m 1 -E '^"?[0-9.]+$' | tr -d '"'; }
near_mac() { incus config get "$1" volatile.eth0.hwaddr; }
near_network() { incus config show -e "$1" | sed -nE 's/^ +network: (.*)$/\1/p' | head -n 1; }
near_gateway() { incus network get "$1" ipv4.address | cut -d/ -f1; }
near_link_local() { incus exec "$1" -- sh -c "ip -6 -o addr show dev eth0 scope link | sed -nE 's/.*inet6 ([^/]+).*/\1/p' | head -n 1"; }

# Response of the victim node on port 7000.
near_serve() {
  incus exec "$1" -- systemd-run --quiet --unit=far-answers python3 -c '
import socket
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind(("::", 7000))
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.sendall(b"far\n")
    connection.close()
'
}
# near_says ADDRESS PORT COMMAND... : the first line that ADDRESS sends; COMMAND is a prefix that runs the client.
near_says() {
  local address=$1 port=$2
  shift 2
  "$@" timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1" && head -n 1 <&3' "$address" "$port" </dev/null 2>/dev/null
}
# near_knows MAC ADDRESS COMMAND... : the neighbour table maps ADDRESS to MAC and to no other.
near_knows() {
  local mac=$1 address=$2 seen
  shift 2
  seen=$("$@" ip neigh show "$address" </dev/null | sed -nE 's/.* lladdr ([^ ]+).*/\1/p' | sort -u)
  [ "$seen" = "$mac" ] || { echo "$*: $address is at ${seen:-no address of hardware}, not at $mac"; return 1; }
}
# near_touch ADDRESS NODE : makes the node resolve an address on its link.
near_touch() { incus exec "$2" -- python3 -c 'import socket,sys; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], 9, 0, socket.if_nametoindex("eth0")))' "$1"; }

# near_robbed SECONDS PROBE... : whether an attacker in the other cluster's node succeeds within this time:
# fails as long as all probes reach the right node. Probes are repeated.
near_robbed() {
  local thief node balancer network gateway bridge node_at balancer_at node_six balancer_six
  local log=$scratch/thief.log seconds=$1 attack probe tried=0
  shift
  thief=$(near_node "$near") node=$(near_node "$far") balancer=$(near_balancer "$far")
  network=$(near_network "$node") gateway=$(near_gateway "$network")
  bridge=$(cat "/sys/class/net/$network/address")
  node_at=$(near_address "$node") balancer_at=$(near_address "$balancer")
  node_six=$(near_link_local "$node") balancer_six=$(near_link_local "$balancer")
  incus exec "$node" -- ping -c 1 "$balancer_at" >/dev/null 2>&1 || true
  incus file push -q tests/neighbours/thief.py "$thief/root/thief.py" || return 1
  : >"$log"
  incus exec "$thief" -- python3 /root/thief.py eth0 "$seconds" \
    "$balancer_at" "$node_at" "$gateway" "$node_six" "$balancer_six" >"$log" 2>&1 </dev/null &
  attack=$!
  until_true 'the thief is at work' 20 grep -q 'at work' "$log" || { cat "$log"; return 1; }
  while kill -0 "$attack" 2>/dev/null; do
    for probe in "$@"; do "$probe" || { wait "$attack"; return 1; }; done
    tried=$((tried + 1))
  done
  wait "$attack" || { cat "$log"; return 1; }
  echo "$tried rounds"
  [ "$tried" -ge 3 ]
}
# Probes, with the variables of near_robbed. From the host to the load balancer and to the node.
near_to_balancer() {
  local said
  said=$(near_says "$balancer_at" 6443)
  [ "$said" != thief ] || { echo "the host asks the load balancer, and the thief answers"; return 1; }
  near_knows "$(near_mac "$balancer")" "$balancer_at"
}
near_to_node() {
  local said
  said=$(near_says "$node_at" 7000)
  [ "$said" = far ] || { echo "the host asks the node, and is told ${said:-nothing}"; return 1; }
  near_knows "$(near_mac "$node")" "$node_at"
}
# From the node to its load balancer and to the host.
near_within() {
  local said
  said=$(near_says "$balancer_at" 6443 incus exec "$node" --)
  [ "$said" != thief ] || { echo "the node asks its load balancer, and the thief answers"; return 1; }
  near_knows "$(near_mac "$balancer")" "$balancer_at" incus exec "$node" --
}
near_to_host() {
  local said
  said=$(near_says "$gateway" 6443 incus exec "$node" --)
  [ "$said" != thief ] || { echo "the node asks the host, and the thief answers"; return 1; }
  near_knows "$bridge" "$gateway" incus exec "$node" --
}
# By IPv6, on the link.
near_by_six() {
  near_touch "$balancer_six" "$node" || return 1
  near_knows "$(near_mac "$balancer")" "$balancer_six" incus exec "$node" --
}
near_probes=(near_to_balancer near_to_node near_within near_to_host near_by_six)
# Control: each attack succeeds if nothing is restricted.
near_steals() {
  local probe said
  for probe in "${near_probes[@]}"; do
    said=$(near_robbed 5 "$probe" 2>&1) && { echo "$probe finds nothing"; return 1; }
    case $said in *'thief'* | *', not at '* | *'is told nothing') echo "$said" ;; *) echo "$probe: $said"; return 1 ;; esac
  done
}
near_is_safe() { near_robbed 12 "${near_probes[@]}"; }

near_deleted() { capn delete cluster "$near" && capn delete cluster "$far" && [ -z "$(instances_of "$near")$(instances_of "$far")" ]; }
near_networks() { incus network list -f csv | grep -E "cluster default/($near|$far)(,|$)"; }
near_leftovers() { { instances_of "$near"; instances_of "$far"; } | xargs -r incus delete --force; }
# It exits with 1 if the host has another problem.
near_doctor() {
  capn doctor >"$scratch/doctor" 2>&1 || true
  has "clusters are on network .*default/$far, default/$near" "$scratch/doctor" || { grep -i network "$scratch/doctor"; return 1; }
}
near_apart() { [ "$(near_networks | wc -l)" = 2 ] && [ "$(near_network "$(near_node "$near")")" != "$(near_network "$(near_node "$far")")" ]; }
near_gone() { near_deleted && if near_networks; then return 1; fi; }

# Control: the attack must be able to succeed.
near_leftovers
if check 'create two clusters that share a network' eval 'near_up --network shared && far_up --network shared'; then
  near_serve "$(near_node "$far")" >/dev/null
  check 'root in a node of one cluster takes over addresses of the other' near_steals
  check 'doctor reports clusters that share a network' near_doctor
fi
check 'delete both' near_deleted

if check 'create two clusters with separate networks' eval 'near_up && far_up'; then
  near_serve "$(near_node "$far")" >/dev/null
  check 'their networks are separate and marked' near_apart
  check 'root in a node of one cluster cannot take over addresses of the other by ARP, IPv6 or configuration' near_is_safe
  check 'doctor finds no network that is shared' eval '! near_doctor'
fi
check 'delete both clusters and their networks' near_gone
