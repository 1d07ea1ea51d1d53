//! Addresses of load balancers: the one that the endpoint already names, or free ones from the
//! ranges of the cluster.
//!
//! An address is in use if something has it: the NIC of an instance, a load balancer of a network,
//! or the endpoint of an LXCCluster in the same namespace. This process only remembers the addresses
//! that it has chosen but not applied yet.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use capn_api::LXCCluster;
use capn_controller::watch;
use capn_plan::{
    owner::Owner,
    ranges::{self, Range},
};
use incus_api::{Config, Instance, InstanceFull, Network};
use kube::{Api, api::ListParams};

use super::validate::ValidCluster;
use crate::{cluster_nic, context::Context, failure::Failure, remote::Remote};

/// Addresses that this process has reserved for clusters: network and address, and the UID of the
/// LXCCluster.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<HashMap<(NetworkKey, IpAddr), String>>);

/// A network whose addresses are chosen here. The same address in another one is another address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NetworkKey {
    server: String,
    project: String,
    network: String,
}

impl NetworkKey {
    /// `project` is the one of the network, which is empty on servers that do not say it.
    pub(crate) fn new(remote: &Remote, project: &str, network: &str) -> Self {
        let server = remote.client.endpoint().to_owned();
        Self { server, project: project.to_owned(), network: network.to_owned() }
    }
}

/// A NIC and its managed network.
struct Nic {
    name: String,
    device: Config,
    network: Network,
}

impl Addresses {
    /// Returns the NIC of a new load balancer instance. `None`: the instance uses the NIC of its
    /// profiles and the server chooses the address. `network` is the network that the cluster sets.
    ///
    /// # Errors
    ///
    /// A final failure if the network cannot assign an address of the ranges.
    pub(crate) async fn nic(
        &self,
        ctx: &Context,
        remote: &Remote,
        valid: &ValidCluster,
        network: Option<&str>,
    ) -> Result<Option<(String, Config)>, Failure> {
        let (profiles, name) = (&valid.spec.profiles, valid.name.as_str());
        let cluster_nic = cluster_nic::replacing(remote, profiles, network, name).await?;
        let plain = cluster_nic
            .as_ref()
            .map(|cluster_nic| (cluster_nic.device.clone(), cluster_nic.config()));
        if valid.endpoint_ip.is_none() && valid.ranges.is_empty() {
            return Ok(plain);
        }
        let nic = nic(remote, valid, plain.clone()).await?;
        let Some(mut nic) = nic else {
            return match valid.ranges.is_empty() {
                true => Ok(plain),
                false => Err(Failure::Invalid {
                    message: format!(
                        "spec.loadBalancer.{}.ranges needs a NIC on a managed bridge or OVN network, but the load balancer has none",
                        valid.kind.as_str()
                    ),
                }),
            };
        };
        // The address belongs to a network without DHCP. Whether the load balancer has it is
        // checked when the load balancer runs.
        let kept = valid.endpoint_ip.filter(|ip| subnet_of(&nic.network, *ip).is_some());
        let mut addresses: Vec<IpAddr> = kept.into_iter().collect();
        let others: Vec<Range> = valid
            .ranges
            .iter()
            .copied()
            .filter(|range| valid.endpoint_ip.is_none_or(|ip| ip.is_ipv4() != range.is_ipv4()))
            .collect();
        if !others.is_empty() {
            let used_addresses = used_addresses(ctx, remote, valid, &nic.network).await?;
            let at = NetworkKey::new(remote, &nic.network.project, &nic.network.name);
            addresses.extend(self.take(&at, &valid.owner.uid, &others, used_addresses)?);
        }
        for address in &addresses {
            if let Err(failure) = check_assignable(&nic.network, *address) {
                self.release(&valid.owner.uid);
                return Err(failure);
            }
            let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
            nic.device.insert(key.into(), address.to_string());
        }
        match addresses.is_empty() {
            true => Ok(plain),
            false => Ok(Some((nic.name, nic.device))),
        }
    }

    /// Reserves a free address of each family in the ranges, in place of those that the cluster has
    /// reserved before.
    pub(crate) fn take(
        &self,
        network: &NetworkKey,
        uid: &str,
        ranges: &[Range],
        mut used_addresses: BTreeSet<IpAddr>,
    ) -> Result<Vec<IpAddr>, Failure> {
        let mut about_to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        about_to.retain(|_, owner| owner != uid);
        used_addresses
            .extend(about_to.keys().filter(|(at, _)| at == network).map(|(_, address)| *address));
        let free = ranges::free(ranges, &used_addresses)
            .map_err(|error| Failure::NoAddress { message: error.to_string() })?;
        for address in &free {
            about_to.insert((network.clone(), *address), uid.to_owned());
        }
        Ok(free)
    }

    /// Releases the reserved addresses of a cluster.
    pub(crate) fn release(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, owner| owner != uid);
    }
}

/// Returns the NIC that the cluster sets, or else the first NIC of the profiles if the server
/// assigns addresses on its network.
async fn nic(
    remote: &Remote,
    valid: &ValidCluster,
    said: Option<(String, Config)>,
) -> Result<Option<Nic>, Failure> {
    let nic = match said {
        Some(said) => Some(said),
        None => {
            let name = valid.name.as_str();
            let devices = cluster_nic::of_profiles(remote, &valid.spec.profiles, name).await?;
            devices.into_iter().find(|(_, device)| {
                device.get("type").is_some_and(|kind| kind == "nic")
                    && device.contains_key("network")
            })
        }
    };
    let Some((name, device)) = nic else { return Ok(None) };
    let Some(network) = device.get("network") else { return Ok(None) };
    let failure = Failure::server("find the network of", valid.name.as_str());
    let network = remote.client.network(network).await.map_err(failure)?;
    Ok(network
        .map(|network| network.value)
        .filter(|network| network.kind == "bridge" || network.kind == "ovn")
        .map(|network| Nic { name, device, network }))
}

/// Returns the subnet of a network that contains the address, unless it is the network's own
/// address.
fn subnet_of(network: &Network, address: IpAddr) -> Option<&str> {
    let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
    network.config.get(key).map(String::as_str).filter(|subnet| contains(subnet, address))
}

/// Checks that the server can assign the address to a NIC of the network.
fn check_assignable(network: &Network, address: IpAddr) -> Result<(), Failure> {
    let (name, config) = (&network.name, &network.config);
    let is = |key: &str, value: &str| config.get(key).is_some_and(|it| it == value);
    let problem = if subnet_of(network, address).is_none() {
        let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
        let subnet = config.get(key).map_or("none", String::as_str);
        format!("{address} is not in the subnet {subnet} of network {name}")
    } else if address.is_ipv6() && network.kind == "bridge" && !is("ipv6.dhcp.stateful", "true") {
        format!(
            "network {name} cannot assign static IPv6 addresses; run `incus network set {name} ipv6.dhcp.stateful=true`"
        )
    } else if address.is_ipv4() && is("ipv4.dhcp", "false") {
        format!(
            "DHCP for IPv4 is disabled on network {name}; run `incus network unset {name} ipv4.dhcp`"
        )
    } else {
        return Ok(());
    };
    Err(Failure::Invalid {
        message: format!("the load balancer cannot get its address: {problem}"),
    })
}

/// Returns the addresses that are in use on a network, as far as the identity may list them.
async fn used_addresses(
    ctx: &Context,
    remote: &Remote,
    valid: &ValidCluster,
    network: &Network,
) -> Result<BTreeSet<IpAddr>, Failure> {
    let failure =
        || Failure::network("look for free addresses of", format!("network {}", network.name));
    let instances = remote.client.instances_of_all_projects().await.map_err(failure())?;
    let mut used_addresses = endpoints(ctx, &valid.owner).await?;
    used_addresses
        .extend(instances.iter().flat_map(|instance| fixed_addresses(instance, &network.name)));
    for key in ["ipv4.address", "ipv6.address"] {
        let own = network.config.get(key).and_then(|subnet| subnet.split('/').next());
        used_addresses.extend(own.and_then(|address| address.parse::<IpAddr>().ok()));
    }
    // A server returns only the leases of one project.
    let ours = remote.client.project().unwrap_or("default").to_owned();
    let projects: BTreeSet<String> =
        instances.into_iter().map(|instance| instance.project).chain([ours]).collect();
    for project in projects.iter().filter(|project| !project.is_empty()) {
        match remote.client.with_project(project).network_leases(&network.name).await {
            Ok(leases) => {
                used_addresses
                    .extend(leases.iter().filter_map(|lease| lease.address.parse::<IpAddr>().ok()));
            }
            // This is skipped if the identity has no permission to list them.
            Err(error) if error.is_forbidden() || error.is_not_found() => {}
            Err(error) => return Err(failure()(error)),
        }
    }
    Ok(used_addresses)
}

/// Returns the endpoints of other clusters in the namespace, on any server. Those of other
/// namespaces do not count, because a tenant can write any address there.
pub(crate) async fn endpoints(ctx: &Context, owner: &Owner) -> Result<BTreeSet<IpAddr>, Failure> {
    let api: Api<LXCCluster> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    let (clusters, _) = watch::list(api, &ListParams::default())
        .await
        .map_err(Failure::kube_named("list", "LXCCluster", "", ""))?;
    Ok(clusters
        .iter()
        .filter(|cluster| cluster.metadata.uid.as_deref() != Some(&owner.uid))
        .filter_map(|cluster| cluster.spec.endpoint_host()?.parse().ok())
        .collect())
}

/// Returns the static addresses of an instance on a network.
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

/// Returns a message if an older instance has one of our addresses. Two processes that choose
/// addresses at the same time only notice each other once both have applied them.
pub(crate) async fn address_conflict(
    remote: &Remote,
    valid: &ValidCluster,
    ours: &InstanceFull,
) -> Result<Option<String>, Failure> {
    if valid.endpoint_ip.is_some() || valid.ranges.is_empty() {
        return Ok(None);
    }
    let failure = Failure::server("look for addresses of", valid.name.as_str());
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
            Some(format!(
                "{shared} belongs to instance {} in project {}",
                other.name, other.project
            ))
        })
    })
}

/// Returns whether a subnet (`10.0.0.1/24`) contains an address other than its own.
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
    fn an_address_is_reserved_in_one_network_for_one_cluster() {
        let at = |network: &str| NetworkKey {
            server: "https://a".into(),
            project: "default".into(),
            network: network.into(),
        };
        let addresses = Addresses::default();
        let range = Range::parse("10.0.0.5-10.0.0.6").unwrap();
        let take = |network: &str, uid: &str| {
            let taken = addresses.take(&at(network), uid, &[range], BTreeSet::new());
            taken.map(|taken| taken[0].to_string()).ok()
        };
        assert_eq!(take("br0", "a").as_deref(), Some("10.0.0.5"));
        assert_eq!(take("br0", "a").as_deref(), Some("10.0.0.5"), "its own is free for it");
        assert_eq!(take("br0", "b").as_deref(), Some("10.0.0.6"));
        assert_eq!(take("br0", "c"), None);
        assert_eq!(take("br1", "c").as_deref(), Some("10.0.0.5"), "another network");
        addresses.release("a");
        assert_eq!(take("br0", "d").as_deref(), Some("10.0.0.5"));
    }

    #[test]
    fn a_network_that_cannot_assign_an_address_is_reported_with_a_fix() {
        let network = |config: serde_json::Value| -> Network {
            serde_json::from_value(json!({ "name": "br0", "type": "bridge", "config": config }))
                .unwrap()
        };
        let plain = network(json!({ "ipv4.address": "10.0.0.1/24", "ipv6.address": "fd42::1/64" }));
        let stateful =
            network(json!({ "ipv6.address": "fd42::1/64", "ipv6.dhcp.stateful": "true" }));
        for (network, address, part) in [
            (&plain, "10.0.0.5", None),
            (&plain, "10.0.1.5", Some("not in the subnet 10.0.0.1/24")),
            (&plain, "fd42::5", Some("incus network set br0 ipv6.dhcp.stateful=true")),
            (&stateful, "fd42::5", None),
            (&stateful, "10.0.0.5", Some("not in the subnet none")),
        ] {
            let result = check_assignable(network, address.parse().unwrap());
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
    fn the_younger_of_two_instances_releases_the_address() {
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
        assert_eq!(older_twin(&b, &all).unwrap(), "10.0.0.5 belongs to instance a in project p");
        assert_eq!(older_twin(&c, &all), None);
    }
}
