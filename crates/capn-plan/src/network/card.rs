//! Which network the cards of an instance are on, and that none is on a network of another cluster's
//! own.

use std::net::IpAddr;

use capn_api::keys;
use incus_api::{Config, Devices, Network};

use crate::families;

/// The first network card of a cluster's instances, where the cluster says which network it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Name of the device, which the profiles' first card has too.
    pub device: String,
    /// Name of the interface in the instance.
    pub interface: String,
    /// The network.
    pub network: String,
}

fn is_card(device: &Config) -> bool {
    device.get("type").is_some_and(|kind| kind == "nic")
}

impl Wire {
    /// The card that takes the place of the first one of the profiles, whose merged devices these are.
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

    /// The device.
    pub fn config(&self) -> Config {
        [("type", "nic"), ("name", &self.interface), ("network", &self.network)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// Puts it among the devices of an instance. Other keys that the user gave the device stay.
    pub fn put_into(&self, devices: &mut Devices) {
        devices.entry(self.device.clone()).or_default().extend(self.config());
    }

    /// What the user's own devices say against it, in words.
    ///
    /// # Errors
    ///
    /// When they put the card on another network, or take it away.
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
                "device {name} has {contradicts}, and spec.network of the LXCCluster puts the card {} on network {}: give further cards another name, or set spec.network.mode to shared",
                self.interface, self.network
            ));
        }
        Ok(())
    }
}

/// Networks that may be another cluster's own, and have to be looked at before a card is put on one:
/// those of the cards in these devices whose names begin as theirs do.
pub fn suspicious<'a>(devices: &'a Devices, own: Option<&str>) -> Vec<&'a str> {
    let networks = devices.values().filter(|device| is_card(device));
    let mut found: Vec<&str> = networks
        .flat_map(|device| ["network", "parent"].map(|key| device.get(key)))
        .flatten()
        // `parent` may have a VLAN behind it.
        .map(|name| name.split('.').next().unwrap_or(name))
        .filter(|name| name.starts_with(keys::NETWORK_PREFIX) && Some(*name) != own)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whose own a network is, in words, if it is not that of the cluster with this owner's UID.
pub fn foreign(network: &Network, uid: &str) -> Option<String> {
    let owner = network.config.get(keys::INSTANCE_OWNER_UID)?;
    let cluster = network.config.get(keys::INSTANCE_OWNER).map_or("another", String::as_str);
    (owner != uid).then(|| {
        format!(
            "network {} belongs to cluster {cluster}: no instance of another cluster is put on it",
            network.name
        )
    })
}

/// What leads addresses to an instance besides those of its network: `(device, key, range)`.
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

/// That a card leads addresses of a network of the server's to an instance, in words: the server sends
/// them there, whoever has them on that network.
pub fn hijack(devices: &Devices, networks: &[Network]) -> Option<String> {
    routes(devices).into_iter().find_map(|(device, key, range)| {
        let of = networks.iter().filter(|network| network.managed).find(|network| {
            ["ipv4.address", "ipv6.address"].iter().any(|key| {
                network.config.get(*key).is_some_and(|own| families::overlap(&range, own))
            })
        })?;
        Some(format!(
            "device {device} has {key}={range}, which are addresses of network {}: the server would send packets for its instances here; leave that out",
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

    fn wire() -> Wire {
        Wire::replacing(&devices(&["eth0,type=nic,network=incusbr0,name=eth0"]), "capn-1")
    }

    #[test]
    fn it_takes_the_place_of_the_profiles_first_card() {
        for (profile, device, interface) in [
            (&["eth0,type=nic,network=incusbr0,name=eth0"][..], "eth0", "eth0"),
            (&["lan,type=nic,nictype=macvlan,parent=eno1,name=enp5s0"], "lan", "enp5s0"),
            (&["a,type=disk,path=/", "b,type=nic,network=n", "c,type=nic,network=m"], "b", "eth0"),
            (&["root,type=disk,path=/"], "eth0", "eth0"),
        ] {
            let wire = Wire::replacing(&devices(profile), "n1");
            assert_eq!((wire.device.as_str(), wire.interface.as_str()), (device, interface));
            assert_eq!(wire.config()["network"], "n1");
        }
    }

    #[test]
    fn what_the_user_gives_the_card_stays_unless_it_leads_elsewhere() {
        let mut own = devices(&["eth0,type=nic,limits.max=100Mbit", "eth1,type=nic,network=lab"]);
        assert_eq!(wire().allows(&own), Ok(()));
        wire().put_into(&mut own);
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
            let refused = wire().allows(&devices(&[text])).unwrap_err();
            assert!(refused.contains(part) && refused.contains("capn-1"), "{text}: {refused}");
        }
    }

    #[test]
    fn networks_of_other_clusters_are_looked_for_in_every_form() {
        let found = devices(&[
            "eth0,type=nic,network=capn-1",
            "eth1,type=nic,network=capn-2",
            "eth2,type=nic,nictype=bridged,parent=capn-3",
            "eth3,type=nic,nictype=macvlan,parent=capn-4.7",
            "eth4,type=nic,network=incusbr0",
            "disk,type=disk,network=capn-5",
        ]);
        assert_eq!(suspicious(&found, Some("capn-1")), ["capn-2", "capn-3", "capn-4"]);
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
    fn addresses_of_a_network_are_not_led_to_an_instance() {
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
