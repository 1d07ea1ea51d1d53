//! Addresses of instances, from states as servers gave them.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know for tests")]

use capn_plan::address;
use incus_api::InstanceFull;
use serde_json::{Value, json};

/// A control plane on Incus 6.0 with two pods. The server reports the host ends of their veth pairs
/// as NICs, because it names the host interface that has the index of the other end in the pod.
const NODE: &str = include_str!("states/incus-node.json");

fn node(changes: Value) -> InstanceFull {
    let mut node: Value = serde_json::from_str(NODE).unwrap();
    merge(&mut node, changes);
    serde_json::from_value(node).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

fn found(instance: &InstanceFull) -> Vec<String> {
    address::of_instance(instance, None).iter().map(ToString::to_string).collect()
}

fn on(interface: &str, rest: Value) -> Value {
    json!({ "state": { "network": { (interface): rest } } })
}

fn global(address: &str, netmask: &str) -> Value {
    let family = if address.contains(':') { "inet6" } else { "inet" };
    json!({ "family": family, "address": address, "netmask": netmask, "scope": "global" })
}

#[test]
fn a_node_has_the_address_of_its_nic_but_not_those_of_its_pods() {
    assert_eq!(found(&node(json!({}))), ["10.155.0.55"]);
    // As with the plugin `ptp`, which gives the node's end of each pod the gateway's address.
    let ptp = on("veth35b95c52", json!({ "addresses": [global("10.244.0.1", "32")] }));
    assert_eq!(found(&node(ptp)), ["10.155.0.55"]);
    // kube-proxy's services and tunnels of network add-ons.
    for (interface, address) in [
        ("kube-ipvs0", "10.96.0.1"),
        ("flannel.1", "10.244.0.0"),
        ("nodelocaldns", "169.254.20.10"),
    ] {
        let other = on(interface, json!({ "host_name": "", "addresses": [global(address, "32")] }));
        assert_eq!(found(&node(other)), ["10.155.0.55"], "{interface}");
    }
}

#[test]
fn every_global_address_of_a_nic_counts_and_the_others_do_not() {
    let several = on(
        "eth0",
        json!({ "addresses": [
            global("2001:db8::1266:6aff:fead:59cb", "64"),
            global("fd42:7::55", "64"),
            global("fd42:7::100", "128"),
            global("10.155.0.55", "24"),
            global("10.155.0.100", "32"),
            { "family": "inet6", "address": "fe80::1", "netmask": "64", "scope": "link" },
            { "family": "inet", "address": "169.254.7.7", "netmask": "16", "scope": "link" },
        ] }),
    );
    assert_eq!(
        found(&node(several)),
        ["10.155.0.55", "2001:db8::1266:6aff:fead:59cb", "fd42:7::55"]
    );
    let only_v6 = on("eth0", json!({ "addresses": [global("fd42:7::55", "64")] }));
    assert_eq!(found(&node(only_v6)), ["fd42:7::55"]);
}

#[test]
fn a_routed_nic_has_addresses_that_are_subnets_of_their_own() {
    let routed = json!({
        "expanded_devices": { "eth0": {
            "type": "nic", "nictype": "routed", "name": "eth0", "network": null,
            "ipv4.address": "192.0.2.9", "ipv6.address": "2001:db8::9",
        } },
        "state": { "network": { "eth0": { "addresses": [
            global("192.0.2.9", "32"), global("2001:db8::9", "128"),
        ] } } },
    });
    assert_eq!(found(&node(routed)), ["192.0.2.9", "2001:db8::9"]);
}

#[test]
fn a_renamed_nic_is_matched_by_its_mac_address() {
    // A virtual machine, whose agent tells the guest's own names.
    let address =
        json!({ "hwaddr": "10:66:6A:AD:59:CB", "addresses": [global("10.155.0.9", "24")] });
    let renamed = json!({ "state": { "network": { "eth0": null, "enp5s0": address } } });
    assert_eq!(found(&node(renamed)), ["10.155.0.9"]);
    // A bridge over the NIC, with its address and its hardware address.
    let bridged = json!({ "state": { "network": {
        "eth0": { "addresses": [] },
        "br0": { "hwaddr": "10:66:6a:ad:59:cb", "addresses": [global("10.155.0.9", "24")] },
    } } });
    assert_eq!(found(&node(bridged)), ["10.155.0.9"]);
}

#[test]
fn a_nic_without_a_device_counts_if_it_has_a_host_interface() {
    let unknown = json!({
        "expanded_devices": { "eth0": null },
        "state": { "network": { "cni0": { "host_name": "" } } },
    });
    assert_eq!(found(&node(unknown)), ["10.155.0.55"]);
}

#[test]
fn an_instance_that_has_stopped_or_has_no_address_yet_has_none() {
    assert!(found(&node(json!({ "state": { "network": null } }))).is_empty());
    assert!(found(&node(on("eth0", json!({ "addresses": [] })))).is_empty());
    assert!(found(&InstanceFull::default()).is_empty());
}
