//! The network of the first NIC of a cluster's instances, and the networks that additional NICs
//! must not use.

use capn_plan::{
    devices,
    network::nic::{self, ClusterNic},
};
use incus_api::{Devices, Profile};

use crate::{failure::Failure, remote::Remote};

/// Merges the devices of profiles; later profiles win.
pub(crate) fn merged(profiles: &[Profile]) -> Devices {
    profiles.iter().flat_map(|profile| profile.devices.clone()).collect()
}

/// Merges the devices of profiles given by name. Without names, `default` is used.
pub(crate) async fn of_profiles(
    remote: &Remote,
    profiles: &[String],
    instance: &str,
) -> Result<Devices, Failure> {
    let default = ["default".to_owned()];
    let names: &[String] = if profiles.is_empty() { &default } else { profiles };
    let mut found = Devices::new();
    for profile in names {
        let failure = Failure::server("find the network of", instance);
        // A missing profile fails the launch, with a better message.
        if let Some(profile) = remote.client.profile(profile).await.map_err(failure)? {
            found.extend(profile.value.devices);
        }
    }
    Ok(found)
}

/// Returns the first NIC of an instance if its cluster sets the network.
pub(crate) async fn replacing(
    remote: &Remote,
    profiles: &[String],
    network: Option<&str>,
    instance: &str,
) -> Result<Option<ClusterNic>, Failure> {
    let Some(network) = network else { return Ok(None) };
    let devices = of_profiles(remote, profiles, instance).await?;
    Ok(Some(ClusterNic::replacing(&devices, network)))
}

/// Checks that no NIC of an instance, as it will be created, uses the network of another cluster.
/// `uid` is that of the LXCCluster.
///
/// # Errors
///
/// A final failure that names the owner.
pub(crate) async fn check_owners(
    remote: &Remote,
    devices: &Devices,
    uid: &str,
    instance: &str,
) -> Result<(), Failure> {
    for name in nic::suspicious(devices) {
        let failure = Failure::network("check", format!("network {name} of instance {instance}"));
        let found = remote.client.network(name).await.map_err(failure)?;
        if let Some(message) = found.and_then(|found| nic::foreign(&found.value, uid)) {
            return Err(Failure::Invalid { message });
        }
    }
    Ok(())
}

/// Checks the devices of a machine from its profiles and its spec: no NIC may use the network of
/// another cluster, and the devices of the user must not route addresses of others here or
/// contradict the first NIC of the cluster. `uid` is that of the LXCCluster.
///
/// # Errors
///
/// A final failure that quotes the setting.
pub(crate) async fn check(
    remote: &Remote,
    profiles: &Devices,
    entries: &[String],
    cluster_nic: Option<&ClusterNic>,
    uid: &str,
    instance: &str,
) -> Result<(), Failure> {
    // Invalid device strings are rejected when the launch request is built.
    let Ok(devices) = devices::parse(entries) else { return Ok(()) };
    let invalid = |message| Failure::Invalid { message };
    let mut all = profiles.clone();
    all.extend(devices.clone());
    if let Some(cluster_nic) = cluster_nic {
        cluster_nic.allows(&devices).map_err(invalid)?;
        cluster_nic.put_into(&mut all);
    }
    check_owners(remote, &all, uid, instance).await?;
    // As they are created: a device without a type has that of the NIC that it changes.
    all.retain(|name, _| devices.contains_key(name));
    if !nic::routes(&all).is_empty() {
        let failure = Failure::network("check", format!("the networks for instance {instance}"));
        let networks = remote.client.networks().await.map_err(failure)?;
        if let Some(message) = nic::hijack(&all, &networks) {
            return Err(invalid(message));
        }
    }
    Ok(())
}
