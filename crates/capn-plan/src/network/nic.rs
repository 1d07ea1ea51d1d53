//! Networks of an instance's NICs. No NIC may use the dedicated network of another cluster.

use std::net::IpAddr;

use capn_api::keys;
use incus_api::{Config, Devices, Network};

use crate::families;

/// The first NIC of a cluster's instances, if the cluster sets its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNic {
    /// Name of the device, which is that of the first NIC in the profiles.
    pub device: String,
    /// Name of the interface in the instance.
    pub interface: String,
    /// Name of the network.
    pub network: String,
}

fn is_card(device: &Config) -> bool {
    device.get("type").is_some_and(|kind| kind == "nic")
}

impl ClusterNic {
    /// Returns the NIC that replaces the first one of the profiles, whose merged devices are given.
    pub fn replacing(profiles: &Devices, network: &str) -> Self {
        let first = profiles.iter().find(|(_, device)| is_card(device));
        let device = first.map_or("eth0", |(name, _)| name.as_str());
        let interface = first.and_then(|(_, device)| device.get("name"));
        Self {
            device: device.to_owned(),
            interface: interface.map_or("eth0", String::as_str).to_owned(),
            network: network.to_owned(),
        }
    }

    /// Returns the device.
    pub fn config(&self) -> Config {
        [("type", "nic"), ("name", &self.interface), ("network", &self.network)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// Adds the NIC to the devices of an instance. Other keys that the user set on the device are
    /// kept.
    pub fn put_into(&self, devices: &mut Devices) {
        devices.entry(self.device.clone()).or_default().extend(self.config());
    }

    /// Checks that the devices of the user do not contradict this NIC.
    ///
    /// # Errors
    ///
    /// A message if they connect the NIC to another network or remove it.
    pub fn allows(&self, devices: &Devices) -> Result<(), String> {
        let other = |key: &str, value: &str| format!("{key}={value}");
        for (name, device) in devices {
            let same_device = *name == self.device;
            let same_interface = is_card(device)
                && device.get("name").is_some_and(|interface| *interface == self.interface);
            if !same_device && !same_interface {
                continue;
            }
            let wanted = self.config();
            let contradicts =
                ["type", "network", "nictype", "parent"].into_iter().find_map(|key| {
                    let value = device.get(key)?;
                    (wanted.get(key) != Some(value)).then(|| other(key, value))
                });
            let contradicts = match (contradicts, same_device) {
                (None, true) => continue,
                (None, false) => format!("name={}", self.interface),
                (Some(found), _) => found,
            };
            return Err(format!(
                "device {name} has {contradicts}, but spec.network of the LXCCluster connects NIC {} to network {}: use another name for additional NICs, or set spec.network.mode to shared",
                self.interface, self.network
            ));
        }
        Ok(())
    }
}

/// Returns the networks that may belong to another cluster: those of NICs whose network name has
/// the prefix of such networks, including that of the own cluster, whose name may be that of another
/// one's network. They must be checked before an instance is connected to them.
pub fn suspicious(devices: &Devices) -> Vec<&str> {
    let networks = devices.values().filter(|device| is_card(device));
    let mut found: Vec<&str> = networks
        .flat_map(|device| ["network", "parent"].map(|key| device.get(key)))
        .flatten()
        // `parent` may have a VLAN suffix.
        .map(|name| name.split('.').next().unwrap_or(name))
        .filter(|name| name.starts_with(keys::NETWORK_PREFIX))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Returns a message if a network belongs to another cluster than that of the owner with this UID.
pub fn foreign(network: &Network, uid: &str) -> Option<String> {
    let owner = network.config.get(keys::INSTANCE_OWNER_UID)?;
    let cluster = network.config.get(keys::INSTANCE_OWNER).map_or("another", String::as_str);
    (owner != uid).then(|| {
        format!(
            "network {} belongs to cluster {cluster}: instances of other clusters cannot use it",
            network.name
        )
    })
}

/// Returns what routes addresses to an instance besides those of its network: `(device, key,
/// range)`.
pub fn routes(devices: &Devices) -> Vec<(&str, &str, String)> {
    let mut found = Vec::new();
    for (name, device) in devices.iter().filter(|(_, device)| is_card(device)) {
        let is_routed = device.get("nictype").is_some_and(|kind| kind != "bridged");
        for (key, value) in device {
            let leads = key.contains(".routes")
                || (is_routed && matches!(key.as_str(), "ipv4.address" | "ipv6.address"));
            if !leads {
                continue;
            }
            let ranges = value.split(',').map(str::trim).filter(|range| !range.is_empty());
            found.extend(ranges.map(|range| {
                let range = match range.parse::<IpAddr>() {
                    Ok(IpAddr::V4(_)) => format!("{range}/32"),
                    Ok(IpAddr::V6(_)) => format!("{range}/128"),
                    Err(_) => range.to_owned(),
                };
                (name.as_str(), key.as_str(), range)
            }));
        }
    }
    found
}

/// Returns a message if a NIC routes addresses of a server network to an instance. The server would
/// then send them to this instance, whichever instance has them on that network.
pub fn hijack(devices: &Devices, networks: &[Network]) -> Option<String> {
    routes(devices).into_iter().find_map(|(device, key, range)| {
        let of = networks.iter().filter(|network| network.managed).find(|network| {
            ["ipv4.address", "ipv6.address"].iter().any(|key| {
                network.config.get(*key).is_some_and(|own| families::overlap(&range, own))
            })
        })?;
        Some(format!(
            "device {device} has {key}={range}, which overlaps network {}: the server would send packets for other instances here; remove this setting",
            of.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(texts: &[&str]) -> Devices {
        crate::devices::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
            .unwrap()
    }

    fn cluster_nic() -> ClusterNic {
        ClusterNic::replacing(&devices(&["eth0,type=nic,network=incusbr0,name=eth0"]), "capn-1")
    }

    #[test]
    fn the_cluster_nic_replaces_the_first_nic_of_the_profiles() {
        for (profile, device, interface) in [
            (&["eth0,type=nic,network=incusbr0,name=eth0"][..], "eth0", "eth0"),
            (&["lan,type=nic,nictype=macvlan,parent=eno1,name=enp5s0"], "lan", "enp5s0"),
            (&["a,type=disk,path=/", "b,type=nic,network=n", "c,type=nic,network=m"], "b", "eth0"),
            (&["root,type=disk,path=/"], "eth0", "eth0"),
        ] {
            let cluster_nic = ClusterNic::replacing(&devices(profile), "n1");
            assert_eq!(
                (cluster_nic.device.as_str(), cluster_nic.interface.as_str()),
                (device, interface)
            );
            assert_eq!(cluster_nic.config()["network"], "n1");
        }
    }

    #[test]
    fn user_settings_of_the_nic_are_kept_unless_they_change_the_network() {
        let mut own = devices(&["eth0,type=nic,limits.max=100Mbit", "eth1,type=nic,network=lab"]);
        assert_eq!(cluster_nic().allows(&own), Ok(()));
        cluster_nic().put_into(&mut own);
        assert_eq!(own["eth0"]["limits.max"], "100Mbit");
        assert_eq!(own["eth0"]["network"], "capn-1");
        assert_eq!(own["eth1"]["network"], "lab");
        for (text, part) in [
            ("eth0,type=nic,network=lab", "network=lab"),
            ("eth0,type=none", "type=none"),
            ("eth0,nictype=macvlan", "nictype=macvlan"),
            ("eth0,parent=eno1", "parent=eno1"),
            ("other,type=nic,name=eth0", "name=eth0"),
            ("other,type=nic,name=eth0,network=lab", "network=lab"),
        ] {
            let refused = cluster_nic().allows(&devices(&[text])).unwrap_err();
            assert!(refused.contains(part) && refused.contains("capn-1"), "{text}: {refused}");
        }
    }

    #[test]
    fn networks_of_other_clusters_are_found_in_every_form() {
        let found = devices(&[
            "eth0,type=nic,network=capn-1",
            "eth1,type=nic,network=capn-2",
            "eth2,type=nic,nictype=bridged,parent=capn-3",
            "eth3,type=nic,nictype=macvlan,parent=capn-4.7",
            "eth4,type=nic,network=incusbr0",
            "disk,type=disk,network=capn-5",
        ]);
        assert_eq!(suspicious(&found), ["capn-1", "capn-2", "capn-3", "capn-4"]);
    }

    #[test]
    fn a_network_is_foreign_by_its_owners_uid() {
        let network = |uid: Option<&str>| {
            let keys = uid.map(|uid| {
                [("user.capn.owner-uid", uid), ("user.capn.owner", "default/a")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            });
            Network {
                name: "capn-2".into(),
                config: keys.into_iter().flatten().collect(),
                ..Network::default()
            }
        };
        assert_eq!(foreign(&network(None), "u1"), None);
        assert_eq!(foreign(&network(Some("u1")), "u1"), None);
        assert!(foreign(&network(Some("u2")), "u1").unwrap().contains("cluster default/a"));
    }

    #[test]
    fn addresses_of_a_network_cannot_be_routed_to_an_instance() {
        let networks = [Network {
            name: "capn-2".into(),
            managed: true,
            config: [
                ("ipv4.address".to_owned(), "10.7.0.1/24".to_owned()),
                ("ipv6.address".to_owned(), "fd42:7::1/64".to_owned()),
            ]
            .into(),
            ..Network::default()
        }];
        for (text, is_led) in [
            ("eth0,type=nic,network=n,ipv4.routes=10.7.0.5/32", true),
            ("eth0,type=nic,network=n,ipv4.routes=10.9.0.0/24, 10.7.0.0/16", true),
            ("eth0,type=nic,network=n,ipv6.routes=fd42:7::5/128", true),
            ("eth0,type=nic,network=n,ipv4.routes.external=10.7.0.5/32", true),
            ("eth1,type=nic,nictype=routed,ipv4.address=10.7.0.5", true),
            ("eth1,type=nic,nictype=routed,ipv6.address=fd42:7::5", true),
            ("eth1,type=nic,nictype=p2p,ipv4.routes=10.7.0.5/32", true),
            ("eth0,type=nic,network=n,ipv4.routes=10.244.0.0/16", false),
            ("eth0,type=nic,network=capn-2,ipv4.address=10.7.0.5", false),
            ("eth0,type=nic,nictype=routed,ipv4.address=192.0.2.5", false),
        ] {
            let mut found = Devices::new();
            let (name, rest) = text.split_once(',').unwrap();
            let mut config = Config::new();
            for part in rest.split(',') {
                match part.split_once('=') {
                    Some((key, value)) => config.insert(key.into(), value.into()),
                    None => {
                        let routes = config.get_mut("ipv4.routes").unwrap();
                        routes.push(',');
                        routes.push_str(part);
                        None
                    }
                };
            }
            found.insert(name.to_owned(), config);
            assert_eq!(hijack(&found, &networks).is_some(), is_led, "{text}");
        }
    }
}
