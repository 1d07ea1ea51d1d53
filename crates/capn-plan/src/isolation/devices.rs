//! Devices that an instance may have, depending on the isolation of its cluster.
//!
//! The types and keys are those of "Devices" in the documentation of Incus and LXD.

use capn_api::Isolation;
use incus_api::Config;

const UNKNOWN: &str = "has a type that capn does not know to be harmless";
const HOST_PATH: &str = "attaches a file or directory of the host";
const HOST_DEVICE: &str = "gives the node a device of the host";
const HOST_CARD: &str = "takes a network interface away from the host";
const NO_SHIFT: &str = "exposes files with the IDs of the host";
const PROPAGATION: &str = "propagates mounts from the node to the host";
const UNKNOWN_KEY: &str = "has a key that capn does not know to be harmless on a disk";
const ROUTES: &str = "makes the host send packets for other addresses to the node";
const UNKNOWN_NIC_KEY: &str = "has a key that capn does not know to be harmless on a NIC";
const REWRITES: &str = "makes the host rewrite packets for other addresses";
const UNKNOWN_PROXY_KEY: &str = "has a key that capn does not know to be harmless on a proxy";
const TO_HOST: &str = "connects from the node to the host";
const OUTSIDE: &str = "leads outside of the storage volume that it names";

/// Disk keys that cannot lead outside of the storage pool.
const DISK_KEYS: &[&str] = &[
    "type",
    "pool",
    "path",
    "source",
    "source.snapshot",
    "size",
    "size.state",
    "readonly",
    "required",
    "shift",
    "propagation",
    "recursive",
    "boot.priority",
];
const DISK_PREFIXES: &[&str] = &["limits.", "initial.", "io.", "user."];
/// NIC keys that concern only the node's end of the network.
const NIC_KEYS: &[&str] = &[
    "type",
    "nictype",
    "network",
    "parent",
    "mode",
    "name",
    "mtu",
    "hwaddr",
    "ipv4.address",
    "ipv6.address",
    "ipv4.gateway",
    "ipv6.gateway",
    "queue.tx.length",
    "boot.priority",
];
const NIC_PREFIXES: &[&str] = &["limits.", "security.", "user."];
const PROXY_KEYS: &[&str] = &["type", "bind", "listen", "connect", "nat", "proxy_protocol"];
/// Sources that a server creates itself, for one instance.
const MADE: &[&str] = &["cloud-init:config", "agent:config", "tmpfs:", "tmpfs-overlay:"];
/// Harmless character devices of the host, with no shared state behind them.
const HARMLESS: &[&str] = &["/dev/net/tun", "/dev/fuse", "/dev/null"];

/// Returns the violation of a device, if any.
pub(super) fn violation(isolation: Isolation, device: &Config) -> Option<&'static str> {
    let key = |key: &str| device.get(key).map_or("", String::as_str);
    let mut texts = device.iter().flat_map(|(key, value)| [key, value]);
    if let Some(why) = texts.find_map(|text| super::config::other_lines(text)) {
        return Some(why);
    }
    match key("type") {
        "none" | "tpm" => None,
        "nic" => nic(device),
        "disk" => disk(device),
        "proxy" => proxy(device),
        "unix-char" => {
            let source = if key("source").is_empty() { key("path") } else { key("source") };
            let by_number = device.contains_key("major") || device.contains_key("minor");
            (by_number || !HARMLESS.contains(&source)).then_some(HOST_DEVICE)
        }
        "gpu" => (isolation == Isolation::Isolated).then_some(HOST_DEVICE),
        "unix-block" | "unix-hotplug" | "usb" | "pci" | "infiniband" => Some(HOST_DEVICE),
        _ => Some(UNKNOWN),
    }
}

fn disk(device: &Config) -> Option<&'static str> {
    let key = |key: &str| device.get(key).map_or("", String::as_str);
    let source = key("source");
    let is_known = |key: &String| {
        DISK_KEYS.contains(&key.as_str()) || DISK_PREFIXES.iter().any(|it| key.starts_with(it))
    };
    if !device.keys().all(is_known) {
        return Some(UNKNOWN_KEY);
    }
    if !matches!(key("propagation"), "" | "private" | "rprivate") {
        return Some(PROPAGATION);
    }
    if device.contains_key("shift") && !super::config::is_true(key("shift")) {
        return Some(NO_SHIFT);
    }
    if key("pool").is_empty() {
        let is_ours =
            source == "/dev/null" || source == "/boot" && super::config::is_true(key("readonly"));
        return (!is_ours && !MADE.contains(&source)).then_some(HOST_PATH);
    }
    if source.starts_with('/') {
        return Some(HOST_PATH);
    }
    source.split('/').any(|part| part == "..").then_some(OUTSIDE)
}

/// A NIC connects the node to a network. It does not change what the host does with packets.
fn nic(device: &Config) -> Option<&'static str> {
    let key = |key: &str| device.get(key).map_or("", String::as_str);
    match key("nictype") {
        "" | "bridged" | "macvlan" | "p2p" | "ovn" => {}
        // The host has a route for each address of the node, and answers for it on its own network.
        "routed" | "ipvlan" => return Some(ROUTES),
        _ => return Some(HOST_CARD),
    }
    // `passthru` takes over the host's NIC itself, with its address.
    if !matches!(key("mode"), "" | "bridge" | "vepa" | "private") {
        return Some(HOST_CARD);
    }
    let is_known = |key: &&String| {
        NIC_KEYS.contains(&key.as_str()) || NIC_PREFIXES.iter().any(|it| key.starts_with(it))
    };
    let unknown = device.keys().find(|key| !is_known(key))?;
    Some(if unknown.contains(".routes") { ROUTES } else { UNKNOWN_NIC_KEY })
}

/// A proxy that listens on the host and connects inside the node publishes a port of the node. With
/// `nat`, the host would rewrite packets for any address, also of others.
fn proxy(device: &Config) -> Option<&'static str> {
    let key = |key: &str| device.get(key).map_or("", String::as_str);
    let is_network = |address: &str| address.starts_with("tcp:") || address.starts_with("udp:");
    if !matches!(key("bind"), "" | "host") || !is_network(key("listen")) {
        return Some(TO_HOST);
    }
    if !is_network(key("connect")) {
        return Some(TO_HOST);
    }
    if !matches!(key("nat"), "" | "false" | "0" | "no" | "off") {
        return Some(REWRITES);
    }
    let is_known = |key: &String| PROXY_KEYS.contains(&key.as_str()) || key.starts_with("user.");
    (!device.keys().all(is_known)).then_some(UNKNOWN_PROXY_KEY)
}
