//! Server checks: connection, authorization, and root disk and network of instances.

use capn_doctor::facts::InstanceFacts;
use capn_doctor::rules;
use capn_plan::families::Family;
use incus_client::Client;
use incus_client::api::{Devices, Server};

use super::families;
use super::findings::refuse;
use crate::error::CommandError;
use crate::identity::{self, Identity};

/// Reads the server's information.
///
/// # Errors
///
/// Returns an error if it cannot be reached or does not trust this client.
pub async fn contact(identity: &Identity, client: &Client) -> Result<Server, CommandError> {
    let server = client.server().await.map_err(|error| {
        let hints = identity::hints(identity, &error);
        CommandError::caused(format!("cannot reach the server at {}", identity.server), error)
            .hints(hints)
    })?;
    if !server.is_trusted() {
        return Err(CommandError::new(format!(
            "the server at {} does not trust this client",
            identity.server
        ))
        .hint("create a token on the server with `incus config trust add NAME` and use it here: `incus remote add`"));
    }
    if let Some(project) = &identity.project {
        let found = client.get_project(project).await.map_err(|error| {
            CommandError::caused(format!("cannot look up project `{project}`"), error)
        })?;
        if found.is_none() {
            return Err(CommandError::new(format!(
                "project `{project}` does not exist on the server"
            ))
            .hint(format!("create it: `incus project create {project}`")));
        }
    }
    Ok(server)
}

/// Returns whether the client's project is restricted so that instances cannot see directories of
/// the host.
///
/// # Errors
///
/// Returns an error if the server does not respond.
pub async fn hides_host_paths(client: &Client) -> Result<bool, CommandError> {
    let Some(name) = client.project() else { return Ok(false) };
    let project = client
        .get_project(name)
        .await
        .map_err(|error| CommandError::caused(format!("cannot look up project `{name}`"), error))?;
    Ok(project.is_some_and(|project| {
        let key = |key: &str| project.value.config.get(key).map(String::as_str);
        key("restricted") == Some("true") && key("restricted.devices.disk") != Some("allow")
    }))
}

/// Checks that instances with these profiles and devices have a root disk in a pool with free
/// space, and a network that exists and provides these address families.
///
/// # Errors
///
/// Returns an error with the command that adds what is missing.
pub async fn profiles(
    client: &Client,
    profiles: &[String],
    devices: &[String],
    needed: &[Family],
) -> Result<(), CommandError> {
    let facts = facts_of(client, profiles, devices).await?;
    refuse(&rules::instance_findings(&facts))?;
    facts.network.as_ref().map_or(Ok(()), |network| families::given(network, needed))
}

/// Checks that the network of instances with these profiles and devices does not overlap these
/// ranges.
///
/// # Errors
///
/// Returns an error that names the range and the network.
pub async fn ranges(
    client: &Client,
    profiles: &[String],
    devices: &[String],
    ranges: &[String],
) -> Result<(), CommandError> {
    let facts = facts_of(client, profiles, devices).await?;
    facts.network.as_ref().map_or(Ok(()), |network| families::apart(network, ranges))
}

/// Returns whether the server is standalone, not part of a server cluster.
///
/// # Errors
///
/// Returns an error if it does not respond.
pub async fn is_single(client: &Client) -> Result<bool, CommandError> {
    let server = client.server().await;
    server
        .map(|server| !server.environment.server_clustered)
        .map_err(|error| CommandError::caused("cannot read the server's information", error))
}

/// Returns whether instances with these profiles and devices have their root file system on a ZFS
/// dataset (not on a ZFS block volume).
///
/// # Errors
///
/// Returns an error if the profiles or the pool cannot be read.
pub async fn root_on_zfs(
    client: &Client,
    profiles: &[String],
    devices: &[String],
) -> Result<bool, CommandError> {
    let facts = facts_of(client, profiles, devices).await?;
    Ok(facts.root.is_some_and(|pool| pool.is_zfs_dataset()))
}

pub(super) async fn facts_of(
    client: &Client,
    profiles: &[String],
    devices: &[String],
) -> Result<InstanceFacts, CommandError> {
    InstanceFacts::read(client, profiles, &parsed(devices)).await.map_err(|error| {
        CommandError::caused("cannot determine the devices of instances on this server", error)
    })
}

/// Parses devices such as `eth0,type=nic,network=incusbr0`. Several entries with the same name are
/// merged.
pub(super) fn parsed(devices: &[String]) -> Devices {
    let mut parsed = Devices::new();
    for device in devices {
        let (name, config) = device.split_once(',').unwrap_or((device, ""));
        parsed.entry(name.to_owned()).or_default().extend(config.split(',').filter_map(|pair| {
            pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        }));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_one_name_merge() {
        let parsed = parsed(&["eth0,type=nic".into(), "eth0,network=br0".into(), "odd".into()]);
        assert_eq!(parsed["eth0"]["network"], "br0");
        assert_eq!(parsed["eth0"]["type"], "nic");
        assert!(parsed["odd"].is_empty());
    }
}
