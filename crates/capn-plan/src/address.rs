//! Selection of the addresses of an instance that count as the machine's.

use std::net::IpAddr;

use capn_api::{MachineAddress, MachineAddressType};
use incus_api::{InstanceFull, InstanceStateAddress, InstanceStateNetwork};

/// Returns the addresses of an instance's NICs: IPv4 before IPv6, sorted by interface name and then
/// by address, so that the first one is the same on every call.
///
/// An interface counts if it is one of the instance's `nic` devices. It is matched by name or, in
/// virtual machines and under a bridge over the NIC, by MAC address. Whether an interface has a
/// peer on the host is only used when no interface matches a device, because servers also report a
/// peer for the interfaces of pods. Loopback and link-local addresses and `except` (a virtual IP)
/// do not count. An address with a full-length prefix (/32 or /128) counts only if the interface
/// has no other address of that family, as on a routed NIC.
pub fn of_instance(instance: &InstanceFull, except: Option<IpAddr>) -> Vec<IpAddr> {
    let Some(state) = &instance.state else { return Vec::new() };
    let cards: Vec<_> = instance
        .expanded_devices
        .iter()
        .filter(|(_, device)| device.get("type").is_some_and(|kind| kind == "nic"))
        .map(|(key, device)| {
            let name = device.get("name").unwrap_or(key).as_str();
            let given = device.get("hwaddr");
            let hwaddr = given.or_else(|| instance.config.get(&format!("volatile.{key}.hwaddr")));
            (name, hwaddr.map_or("", String::as_str))
        })
        .collect();
    let is_card = |name: &str, nic: &InstanceStateNetwork| {
        cards.iter().any(|(card, hwaddr)| {
            *card == name || (!hwaddr.is_empty() && hwaddr.eq_ignore_ascii_case(&nic.hwaddr))
        })
    };
    let any_card = state.network.iter().any(|(name, nic)| is_card(name, nic));
    let mut found: Vec<(bool, &str, IpAddr)> = state
        .network
        .iter()
        .filter(|(name, _)| name.as_str() != "lo")
        .filter(|(name, nic)| match any_card {
            true => is_card(name, nic),
            false => !nic.host_name.is_empty(),
        })
        .flat_map(|(name, nic)| of_interface(nic).map(move |ip| (ip.is_ipv6(), name.as_str(), ip)))
        .filter(|(_, _, ip)| Some(*ip) != except)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, _, ip)| ip).collect()
}

/// Returns the addresses in the form that Cluster API expects: the host name, then each address as
/// an internal and as an external IP.
pub fn of_machine(instance: &str, addresses: &[IpAddr]) -> Vec<MachineAddress> {
    let host = MachineAddress { kind: MachineAddressType::Hostname, address: instance.to_owned() };
    let both = addresses.iter().flat_map(|ip| {
        [MachineAddressType::InternalIp, MachineAddressType::ExternalIp]
            .map(|kind| MachineAddress { kind, address: ip.to_string() })
    });
    std::iter::once(host).chain(both).collect()
}

fn of_interface(nic: &InstanceStateNetwork) -> impl Iterator<Item = IpAddr> {
    let usable: Vec<(IpAddr, bool)> = nic.addresses.iter().filter_map(parse).collect();
    let has_subnet = |v6: bool| usable.iter().any(|(ip, single)| ip.is_ipv6() == v6 && !single);
    let subnets = [has_subnet(false), has_subnet(true)];
    usable
        .into_iter()
        .filter(move |(ip, single)| !single || !subnets[usize::from(ip.is_ipv6())])
        .map(|(ip, _)| ip)
}

/// Returns the address, and whether its prefix covers only the address itself.
fn parse(address: &InstanceStateAddress) -> Option<(IpAddr, bool)> {
    if address.scope != incus_api::AddressScope::Global {
        return None;
    }
    let ip: IpAddr = address.address.parse().ok()?;
    let single = match ip {
        IpAddr::V4(_) => address.netmask == "32",
        IpAddr::V6(_) => address.netmask == "128",
    };
    (!ip.is_loopback()).then_some((ip, single))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn address(text: &str, netmask: u8, scope: &str) -> Value {
        let family = if text.contains(':') { "inet6" } else { "inet" };
        json!({ "family": family, "address": text, "netmask": netmask.to_string(), "scope": scope })
    }

    fn found(network: Value, except: Option<&str>) -> Vec<String> {
        let instance: InstanceFull = serde_json::from_value(json!({
            "name": "a",
            "expanded_devices": {
                "eth0": { "type": "nic", "name": "eth0", "network": "incusbr0" },
                "net1": { "type": "nic", "nictype": "macvlan" },
                "root": { "type": "disk", "path": "/" },
            },
            "state": { "network": network },
        }))
        .unwrap();
        let except = except.map(|ip| ip.parse().unwrap());
        of_instance(&instance, except).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nics_count_and_pod_interfaces_do_not() {
        let network = json!({
            "lo": { "type": "loopback", "addresses": [address("127.0.0.1", 8, "local")] },
            "cni0": { "addresses": [address("10.244.0.1", 24, "global")] },
            "net1": { "addresses": [address("192.0.2.9", 24, "global")] },
            "eth0": { "host_name": "veth1", "addresses": [
                address("fe80::1", 64, "link"),
                address("2001:db8::7", 64, "global"),
                address("10.0.0.7", 24, "global"),
            ] },
            "eth9": { "host_name": "veth9", "addresses": [address("10.9.0.7", 24, "global")] },
        });
        assert_eq!(found(network, None), ["10.0.0.7", "192.0.2.9", "2001:db8::7"]);
    }

    #[test]
    fn a_virtual_ip_on_the_nic_is_ignored() {
        let network = json!({ "eth0": { "addresses": [
            address("10.0.0.7", 24, "global"), address("10.0.0.100", 32, "global"),
        ] } });
        assert_eq!(found(network, None), ["10.0.0.7"]);
    }

    #[test]
    fn the_only_address_of_a_routed_nic_counts() {
        let network = json!({ "eth0": { "addresses": [
            address("192.0.2.7", 32, "global"), address("2001:db8::7", 128, "global"),
        ] } });
        assert_eq!(found(network.clone(), None), ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(found(network, Some("192.0.2.7")), ["2001:db8::7"]);
    }

    #[test]
    fn the_first_address_does_not_depend_on_the_order_the_server_gives() {
        let both = [address("10.0.0.9", 24, "global"), address("10.0.0.10", 24, "global")];
        let reversed = [both[1].clone(), both[0].clone()];
        let one = found(json!({ "eth0": { "addresses": both } }), None);
        assert_eq!(one, found(json!({ "eth0": { "addresses": reversed } }), None));
    }

    #[test]
    fn a_stopped_instance_has_no_address() {
        assert_eq!(of_instance(&InstanceFull::default(), None), Vec::<IpAddr>::new());
    }
}
