//! Reads what the infrastructure of one cluster depends on.

use std::{net::IpAddr, sync::Arc};

use capi_api::{
    core::{Cluster, Machine},
    labels,
};
use capn_api::{LXCCluster, LXCMachine, MachineAddressType};
use incus_api::Config;
use kube::{Api, api::ListParams};

use super::validate::Subject;
use crate::{
    context::Context,
    failure::Failure,
    images::{self, Image},
    references::{self, name, namespace},
    remote::Remote,
};

/// The Kubernetes objects around one LXCCluster, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) cluster: Option<Cluster>,
    /// The cluster's machines that are ours.
    pub(crate) machines: Vec<LXCMachine>,
    /// Names of those that are control planes.
    pub(crate) control_planes: Vec<String>,
}

/// Reads the objects around an LXCCluster.
pub(crate) async fn references(ctx: &Context, cluster: &LXCCluster) -> Result<References, Failure> {
    let meta = &cluster.metadata;
    let owner: Option<Cluster> = match references::owner(&ctx.client, meta).await? {
        Some(owner) => Some(owner),
        // While it is deleted its owner may be gone already.
        None if meta.deletion_timestamp.is_some() => {
            references::cluster_of(&ctx.client, meta).await?
        }
        None => None,
    };
    let cluster_name = owner
        .as_ref()
        .map(|owner| name(&owner.metadata))
        .or_else(|| references::label(meta, labels::CLUSTER_NAME));
    let Some(cluster_name) = cluster_name else {
        return Ok(References { cluster: owner, ..References::default() });
    };
    let within = namespace(meta);
    let of_cluster = format!("{}={cluster_name}", labels::CLUSTER_NAME);
    let machines = Api::<LXCMachine>::namespaced(ctx.client.clone(), within)
        .list(&ListParams::default().labels(&of_cluster))
        .await
        .map_err(Failure::kube_named("list the machines of", "Cluster", within, cluster_name))?
        .items;
    let control_plane = format!("{of_cluster},{}", labels::CONTROL_PLANE);
    let control_planes = Api::<Machine>::namespaced(ctx.client.clone(), within)
        .list(&ListParams::default().labels(&control_plane))
        .await
        .map_err(Failure::kube_named("list the machines of", "Cluster", within, cluster_name))?
        .items
        .into_iter()
        .map(|machine| machine.spec.infrastructure_ref.name)
        .collect();
    Ok(References { cluster: owner, machines, control_planes })
}

/// The address by which a load balancer reaches a machine, if it has one.
pub(crate) fn backend_address(machine: &LXCMachine) -> Option<IpAddr> {
    machine
        .status
        .iter()
        .flat_map(|status| &status.addresses)
        .filter(|address| address.kind == MachineAddressType::InternalIp)
        .find_map(|address| address.address.parse().ok())
}

/// The server of the cluster.
pub(crate) async fn remote(ctx: &Context, cluster: &LXCCluster) -> Result<Arc<Remote>, Failure> {
    let secret = references::identity_of(&ctx.client, cluster).await?;
    ctx.remotes.get(&secret).await
}

/// What a launch is made of besides the manifest.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    pub(crate) image: Image,
    /// Network card that keeps the endpoint's address.
    pub(crate) nic: Option<(String, Config)>,
}

/// Finds the image, and the network card to change when the endpoint has an address already.
pub(crate) async fn material(remote: &Remote, subject: &Subject) -> Result<Material, Failure> {
    let image =
        images::of_load_balancer(remote, &subject.spec.image, &subject.image_servers).await?;
    let nic = match subject.endpoint_ip {
        Some(address) => nic(remote, subject, address).await?,
        None => None,
    };
    Ok(Material { image, nic })
}

/// The first network card of the profiles, with the address set, if the server's own DHCP gives
/// out addresses on its network.
async fn nic(
    remote: &Remote,
    subject: &Subject,
    address: IpAddr,
) -> Result<Option<(String, Config)>, Failure> {
    let failure = || Failure::server("find the network of", subject.name.as_str());
    let default = ["default".to_owned()];
    let names: &[String] =
        if subject.spec.profiles.is_empty() { &default } else { &subject.spec.profiles };
    let mut devices = incus_api::Devices::new();
    for profile in names {
        // A profile that is missing fails the launch, which tells more.
        if let Some(profile) = remote.client.profile(profile).await.map_err(failure())? {
            devices.extend(profile.devices.clone());
        }
    }
    let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
    let card = devices.into_iter().find(|(_, device)| {
        device.get("type").is_some_and(|kind| kind == "nic") && device.contains_key("network")
    });
    let Some((name, mut device)) = card else { return Ok(None) };
    let Some(network) = device.get("network") else { return Ok(None) };
    let network = remote.client.network(network).await.map_err(failure())?;
    let fits = network.is_some_and(|network| {
        network.kind == "bridge"
            && network.config.get(key).is_some_and(|subnet| contains(subnet, address))
    });
    if !fits {
        return Ok(None);
    }
    device.insert(key.to_owned(), address.to_string());
    Ok(Some((name, device)))
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
}
