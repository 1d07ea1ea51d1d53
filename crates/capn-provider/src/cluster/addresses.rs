//! Addresses of load balancers: one that the endpoint names already, or free ones out of the
//! ranges that the cluster may use.
//!
//! What records that an address is taken is the thing that has it: the network card of an
//! instance, the load balancer of a network, the endpoint of an LXCCluster. What this process
//! keeps in mind only spans the time until then.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use capn_api::LXCCluster;
use capn_controller::watch;
use capn_plan::ranges::{self, Range};
use incus_api::{Config, Instance, InstanceFull, Network};
use kube::api::ListParams;

use super::validate::Subject;
use crate::{context::Context, failure::Failure, remote::Remote, wire};

/// Addresses that clusters of this process are about to have: server and address, and the UID of
/// the LXCCluster.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<HashMap<(String, IpAddr), String>>);

/// A network card and the managed network it is on.
struct Card {
    name: String,
    device: Config,
    network: Network,
}

impl Addresses {
    /// The network card to launch a load balancer's instance with; `None` when it is the profiles'
    /// and the server chooses the address. `network` is the one that the cluster says.
    ///
    /// # Errors
    ///
    /// Final ones for ranges that the network cannot give out.
    pub(crate) async fn nic(
        &self,
        ctx: &Context,
        remote: &Remote,
        subject: &Subject,
        network: Option<&str>,
    ) -> Result<Option<(String, Config)>, Failure> {
        let (profiles, name) = (&subject.spec.profiles, subject.name.as_str());
        let wire = wire::replacing(remote, profiles, network, name).await?;
        let plain = wire.as_ref().map(|wire| (wire.device.clone(), wire.config()));
        if subject.endpoint_ip.is_none() && subject.ranges.is_empty() {
            return Ok(plain);
        }
        let card = card(remote, subject, plain.clone()).await?;
        let Some(mut card) = card else {
            return match subject.ranges.is_empty() {
                true => Ok(plain),
                false => Err(Failure::Invalid {
                    message: format!(
                        "spec.loadBalancer.{}.ranges needs a network card on a managed bridge or OVN network, and the load balancer has none",
                        subject.kind.as_str()
                    ),
                }),
            };
        };
        // The address of a network that gives out none is somebody else's to keep: whether the
        // load balancer is there shows when it runs.
        let kept = subject.endpoint_ip.filter(|ip| subnet_of(&card.network, *ip).is_some());
        let mut addresses: Vec<IpAddr> = kept.into_iter().collect();
        let others: Vec<Range> = subject
            .ranges
            .iter()
            .copied()
            .filter(|range| subject.endpoint_ip.is_none_or(|ip| ip.is_ipv4() != range.is_ipv4()))
            .collect();
        if !others.is_empty() {
            let taken = taken(ctx, remote, subject, &card.network).await?;
            addresses.extend(self.take(remote, &subject.owner.uid, &others, taken)?);
        }
        for address in &addresses {
            gives_out(&card.network, *address)?;
            let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
            card.device.insert(key.into(), address.to_string());
        }
        match addresses.is_empty() {
            true => Ok(plain),
            false => Ok(Some((card.name, card.device))),
        }
    }

    /// Takes a free address of each family out of ranges.
    pub(crate) fn take(
        &self,
        remote: &Remote,
        uid: &str,
        ranges: &[Range],
        mut taken: BTreeSet<IpAddr>,
    ) -> Result<Vec<IpAddr>, Failure> {
        let server = remote.client.endpoint();
        let mut about_to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        about_to.retain(|(at, _), owner| at != server || owner != uid);
        taken.extend(about_to.keys().filter(|(at, _)| at == server).map(|(_, address)| *address));
        let free = ranges::free(ranges, &taken)
            .map_err(|error| Failure::NoAddress { message: error.to_string() })?;
        for address in &free {
            about_to.insert((server.to_owned(), *address), uid.to_owned());
        }
        Ok(free)
    }

    /// Forgets what a cluster was about to have.
    pub(crate) fn release(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, owner| owner != uid);
    }
}

/// The card that the cluster says, else the first network card of the profiles, if it is on a network
/// whose addresses the server gives out.
async fn card(
    remote: &Remote,
    subject: &Subject,
    said: Option<(String, Config)>,
) -> Result<Option<Card>, Failure> {
    let card = match said {
        Some(said) => Some(said),
        None => {
            let name = subject.name.as_str();
            let devices = wire::of_profiles(remote, &subject.spec.profiles, name).await?;
            devices.into_iter().find(|(_, device)| {
                device.get("type").is_some_and(|kind| kind == "nic")
                    && device.contains_key("network")
            })
        }
    };
    let Some((name, device)) = card else { return Ok(None) };
    let Some(network) = device.get("network") else { return Ok(None) };
    let failure = Failure::server("find the network of", subject.name.as_str());
    let network = remote.client.network(network).await.map_err(failure)?;
    Ok(network
        .map(|network| network.value)
        .filter(|network| network.kind == "bridge" || network.kind == "ovn")
        .map(|network| Card { name, device, network }))
}

/// The subnet of a network that has an address, and is not the network's own.
fn subnet_of(network: &Network, address: IpAddr) -> Option<&str> {
    let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
    network.config.get(key).map(String::as_str).filter(|subnet| contains(subnet, address))
}

/// Whether the server gives a card of that network the address.
fn gives_out(network: &Network, address: IpAddr) -> Result<(), Failure> {
    let (name, config) = (&network.name, &network.config);
    let is = |key: &str, value: &str| config.get(key).is_some_and(|it| it == value);
    let problem = if subnet_of(network, address).is_none() {
        let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
        let subnet = config.get(key).map_or("none", String::as_str);
        format!("{address} is no address of network {name}, whose subnet is {subnet}")
    } else if address.is_ipv6() && network.kind == "bridge" && !is("ipv6.dhcp.stateful", "true") {
        format!(
            "network {name} gives out no fixed IPv6 addresses; `incus network set {name} ipv6.dhcp.stateful=true`"
        )
    } else if address.is_ipv4() && is("ipv4.dhcp", "false") {
        format!(
            "network {name} gives out no IPv4 addresses; `incus network unset {name} ipv4.dhcp`"
        )
    } else {
        return Ok(());
    };
    Err(Failure::Invalid {
        message: format!("the load balancer cannot get its address: {problem}"),
    })
}

/// Addresses of a network that are taken, as far as the identity may see.
async fn taken(
    ctx: &Context,
    remote: &Remote,
    subject: &Subject,
    network: &Network,
) -> Result<BTreeSet<IpAddr>, Failure> {
    let failure =
        || Failure::network("look for free addresses of", format!("network {}", network.name));
    let instances = remote.client.instances_of_all_projects().await.map_err(failure())?;
    let mut taken = endpoints(ctx, &subject.owner.uid).await?;
    taken.extend(instances.iter().flat_map(|instance| fixed_addresses(instance, &network.name)));
    for key in ["ipv4.address", "ipv6.address"] {
        let own = network.config.get(key).and_then(|subnet| subnet.split('/').next());
        taken.extend(own.and_then(|address| address.parse::<IpAddr>().ok()));
    }
    // A server tells of the leases of one project at a time.
    let ours = remote.client.project().unwrap_or("default").to_owned();
    let projects: BTreeSet<String> =
        instances.into_iter().map(|instance| instance.project).chain([ours]).collect();
    for project in projects.iter().filter(|project| !project.is_empty()) {
        match remote.client.with_project(project).network_leases(&network.name).await {
            Ok(leases) => {
                taken
                    .extend(leases.iter().filter_map(|lease| lease.address.parse::<IpAddr>().ok()));
            }
            // Whoever may not look there is not asked to.
            Err(error) if error.is_forbidden() || error.is_not_found() => {}
            Err(error) => return Err(failure()(error)),
        }
    }
    Ok(taken)
}

/// Endpoints of other clusters, on whatever server.
pub(crate) async fn endpoints(ctx: &Context, uid: &str) -> Result<BTreeSet<IpAddr>, Failure> {
    let (clusters, _) = watch::list(ctx.api::<LXCCluster>(), &ListParams::default())
        .await
        .map_err(Failure::kube_named("list", "LXCCluster", "", ""))?;
    Ok(clusters
        .iter()
        .filter(|cluster| cluster.metadata.uid.as_deref() != Some(uid))
        .filter_map(|cluster| cluster.spec.endpoint_host()?.parse().ok())
        .collect())
}

/// The fixed addresses that an instance has on a network.
fn fixed_addresses<'a>(
    instance: &'a Instance,
    network: &'a str,
) -> impl Iterator<Item = IpAddr> + 'a {
    instance
        .expanded_devices
        .values()
        .filter(move |device| device.get("network").is_some_and(|it| it == network))
        .flat_map(|device| ["ipv4.address", "ipv6.address"].map(|key| device.get(key)))
        .flatten()
        .filter_map(|address| address.parse().ok())
}

/// Whose instance has an address of ours too, and has it longer. Two processes that take
/// addresses at the same time do not see each other before both have one.
pub(crate) async fn lost_to(
    remote: &Remote,
    subject: &Subject,
    ours: &InstanceFull,
) -> Result<Option<String>, Failure> {
    if subject.endpoint_ip.is_some() || subject.ranges.is_empty() {
        return Ok(None);
    }
    let failure = Failure::server("look for addresses of", subject.name.as_str());
    let instances = remote.client.instances_of_all_projects().await.map_err(failure)?;
    Ok(older_twin(ours, &instances))
}

fn older_twin(ours: &Instance, all: &[Instance]) -> Option<String> {
    let age = |instance: &Instance| {
        (instance.created_at.clone(), instance.project.clone(), instance.name.clone())
    };
    let networks: BTreeSet<&str> = ours
        .expanded_devices
        .values()
        .filter_map(|it| it.get("network"))
        .map(String::as_str)
        .collect();
    all.iter().filter(|other| age(other) < age(ours)).find_map(|other| {
        networks.iter().find_map(|network| {
            let mine: Vec<_> = fixed_addresses(ours, network).collect();
            let shared = fixed_addresses(other, network).find(|address| mine.contains(address))?;
            Some(format!("{shared} is instance {}'s of project {}", other.name, other.project))
        })
    })
}

/// Whether a subnet (`10.0.0.1/24`) has an address, and it is not the subnet's own.
fn contains(subnet: &str, address: IpAddr) -> bool {
    let Some((gateway, length)) = subnet.split_once('/') else { return false };
    let Ok(length) = length.parse::<u32>() else { return false };
    match (gateway.parse(), address) {
        (Ok(IpAddr::V4(gateway)), IpAddr::V4(address)) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            gateway != address && gateway.to_bits() & mask == address.to_bits() & mask
        }
        (Ok(IpAddr::V6(gateway)), IpAddr::V6(address)) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            gateway != address && gateway.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_fits_its_own_subnet_only() {
        for (subnet, address, fits) in [
            ("10.155.0.1/24", "10.155.0.200", true),
            ("10.155.0.1/24", "10.155.0.1", false),
            ("10.155.0.1/24", "10.155.1.2", false),
            ("fd42::1/64", "fd42::9", true),
            ("fd42::1/64", "fd43::9", false),
            ("none", "10.155.0.2", false),
            ("10.0.0.1/0", "192.0.2.1", true),
        ] {
            assert_eq!(contains(subnet, address.parse().unwrap()), fits, "{subnet} {address}");
        }
    }

    #[test]
    fn a_network_that_does_not_give_out_an_address_says_what_to_do() {
        let network = |config: serde_json::Value| -> Network {
            serde_json::from_value(json!({ "name": "br0", "type": "bridge", "config": config }))
                .unwrap()
        };
        let plain = network(json!({ "ipv4.address": "10.0.0.1/24", "ipv6.address": "fd42::1/64" }));
        let stateful =
            network(json!({ "ipv6.address": "fd42::1/64", "ipv6.dhcp.stateful": "true" }));
        for (network, address, part) in [
            (&plain, "10.0.0.5", None),
            (&plain, "10.0.1.5", Some("whose subnet is 10.0.0.1/24")),
            (&plain, "fd42::5", Some("incus network set br0 ipv6.dhcp.stateful=true")),
            (&stateful, "fd42::5", None),
            (&stateful, "10.0.0.5", Some("whose subnet is none")),
        ] {
            let result = gives_out(network, address.parse().unwrap());
            match (result, part) {
                (Ok(()), None) => {}
                (Err(failure), Some(part)) => {
                    assert!(failure.message().contains(part), "{}", failure.message());
                }
                (result, _) => panic!("{address}: {result:?}"),
            }
        }
    }

    #[test]
    fn the_younger_of_two_instances_gives_the_address_up() {
        let instance = |name: &str, created: &str, address: &str| -> Instance {
            serde_json::from_value(json!({
                "name": name, "project": "p", "created_at": created,
                "expanded_devices": { "eth0": {
                    "type": "nic", "network": "br0", "ipv4.address": address,
                } },
            }))
            .unwrap()
        };
        let a = instance("a", "2026-01-01T00:00:00Z", "10.0.0.5");
        let b = instance("b", "2026-01-01T00:00:01Z", "10.0.0.5");
        let c = instance("c", "2026-01-01T00:00:02Z", "10.0.0.6");
        let all = [a.clone(), b.clone(), c.clone()];
        assert_eq!(older_twin(&a, &all), None);
        assert_eq!(older_twin(&b, &all).unwrap(), "10.0.0.5 is instance a's of project p");
        assert_eq!(older_twin(&c, &all), None);
    }
}
