//! The network of the first network card of a cluster's instances, and what their other cards may
//! not be on.

use capn_plan::{
    devices,
    network::card::{self, Wire},
};
use incus_api::{Devices, Profile};

use crate::{failure::Failure, remote::Remote};

/// The devices of profiles, later ones over earlier ones.
pub(crate) fn merged(profiles: &[Profile]) -> Devices {
    profiles.iter().flat_map(|profile| profile.devices.clone()).collect()
}

/// The same of profiles by their names; none: `default`.
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
        // A profile that is missing fails the launch, which tells more.
        if let Some(profile) = remote.client.profile(profile).await.map_err(failure)? {
            found.extend(profile.value.devices);
        }
    }
    Ok(found)
}

/// The first card of an instance whose cluster says which network it is on.
pub(crate) async fn replacing(
    remote: &Remote,
    profiles: &[String],
    network: Option<&str>,
    instance: &str,
) -> Result<Option<Wire>, Failure> {
    let Some(network) = network else { return Ok(None) };
    let devices = of_profiles(remote, profiles, instance).await?;
    Ok(Some(Wire::replacing(&devices, network)))
}

/// Checks the devices of a machine, those of its profiles and those that a user gave it: none puts a card
/// on a network of another cluster's own, and the user's neither lead addresses of others here nor
/// contradict the cluster about the first card. `uid` is the LXCCluster's.
///
/// # Errors
///
/// A final one that says what was asked.
pub(crate) async fn check(
    remote: &Remote,
    profiles: &Devices,
    entries: &[String],
    wire: Option<&Wire>,
    uid: &str,
    instance: &str,
) -> Result<(), Failure> {
    // Strings that cannot be understood are refused where the launch is made.
    let Ok(devices) = devices::parse(entries) else { return Ok(()) };
    let invalid = |message| Failure::Invalid { message };
    let mut all = profiles.clone();
    all.extend(devices.clone());
    if let Some(wire) = wire {
        wire.allows(&devices).map_err(invalid)?;
        wire.put_into(&mut all);
    }
    for name in card::suspicious(&all, wire.map(|wire| wire.network.as_str())) {
        let failure = Failure::network("look at", format!("network {name} of instance {instance}"));
        let found = remote.client.network(name).await.map_err(failure)?;
        if let Some(message) = found.and_then(|found| card::foreign(&found.value, uid)) {
            return Err(invalid(message));
        }
    }
    if !card::routes(&devices).is_empty() {
        let failure = Failure::network("look at", format!("the networks for instance {instance}"));
        let networks = remote.client.networks().await.map_err(failure)?;
        if let Some(message) = card::hijack(&devices, &networks) {
            return Err(invalid(message));
        }
    }
    Ok(())
}
