//! The server: does it answer, may we use it, and can instances get a disk and a network?

use std::collections::BTreeMap;

use incus_client::Client;
use incus_client::api::Server;

use crate::error::CommandError;
use crate::identity::{self, Identity};

/// Below this many free bytes a node is likely to fail half-way.
const LITTLE_SPACE_BYTES: u64 = 3 * 1024 * 1024 * 1024;

/// Asks the server who it is.
///
/// # Errors
///
/// When it cannot be reached or does not trust us.
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
        .hint("get a token there with `incus config trust add NAME`, and use it here: `incus remote add`"));
    }
    if let Some(project) = &identity.project {
        let found = client.get_project(project).await.map_err(|error| {
            CommandError::caused(format!("cannot look up project `{project}`"), error)
        })?;
        if found.is_none() {
            return Err(CommandError::new(format!(
                "there is no project `{project}` on the server"
            ))
            .hint(format!("create it: `incus project create {project}`")));
        }
    }
    Ok(server)
}

/// Whether the client's project is restricted such that instances do not see folders of the host.
///
/// # Errors
///
/// When the server does not answer.
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

/// Checks that instances with these profiles and devices have a root disk on a pool with space,
/// and a network that is there.
///
/// # Errors
///
/// With the command that adds what is missing.
pub async fn profiles(
    client: &Client,
    profiles: &[String],
    devices: &[String],
) -> Result<(), CommandError> {
    let (merged, names) = devices_of(client, profiles, devices).await?;
    let shown = names.join("`, `");
    root_disk(client, &merged, &shown).await?;
    network(client, &merged, &shown).await
}

/// Whether instances with these profiles and devices have their root file system on a ZFS dataset
/// (and not on a block device of a ZFS pool).
///
/// # Errors
///
/// When the profiles or the pool cannot be read.
pub async fn root_on_zfs(
    client: &Client,
    profiles: &[String],
    devices: &[String],
) -> Result<bool, CommandError> {
    let (merged, _) = devices_of(client, profiles, devices).await?;
    let root = merged.values().find(|device| is_root(device));
    let Some(name) = root.and_then(|device| device.get("pool")) else { return Ok(false) };
    let pool = client.storage_pool(name).await.map_err(|error| {
        CommandError::caused(format!("cannot look at storage pool `{name}`"), error)
    })?;
    Ok(pool.is_some_and(|pool| {
        let block = pool.value.config.get("volume.zfs.block_mode");
        pool.value.driver == "zfs" && block.is_none_or(|value| value != "true")
    }))
}

/// Devices by name, each a set of keys.
type Devices = BTreeMap<String, BTreeMap<String, String>>;

fn is_root(device: &BTreeMap<String, String>) -> bool {
    let is = |key: &str, value: &str| device.get(key).is_some_and(|found| found == value);
    is("type", "disk") && is("path", "/")
}

/// The devices that instances get, and the names of the profiles that are looked at.
async fn devices_of(
    client: &Client,
    profiles: &[String],
    devices: &[String],
) -> Result<(Devices, Vec<String>), CommandError> {
    let names = if profiles.is_empty() { vec!["default".to_owned()] } else { profiles.to_vec() };
    let mut merged = Devices::new();
    for name in &names {
        let profile = client
            .profile(name)
            .await
            .map_err(|error| CommandError::caused(format!("cannot read profile `{name}`"), error))?
            .ok_or_else(|| {
                CommandError::new(format!("there is no profile `{name}` on the server"))
                    .hint("see those that are there: `incus profile list`")
            })?;
        for (device, config) in profile.value.devices {
            merged.insert(device, config.into_iter().collect());
        }
    }
    for device in devices {
        let (name, config) = device.split_once(',').unwrap_or((device, ""));
        let entry = merged.entry(name.to_owned()).or_default();
        entry.extend(config.split(',').filter_map(|pair| {
            pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        }));
    }
    Ok((merged, names))
}

async fn root_disk(
    client: &Client,
    devices: &BTreeMap<String, BTreeMap<String, String>>,
    profiles: &str,
) -> Result<(), CommandError> {
    let get = |device: &BTreeMap<String, String>, key| device.get(key).cloned().unwrap_or_default();
    let Some(root) = devices.values().find(|device| is_root(device)) else {
        return Err(CommandError::new(format!("instances have no root disk: profile `{profiles}` names none"))
            .hint("make a pool and name it: `incus storage create default dir && incus profile device add default root disk pool=default path=/`")
            .hint("`./quickstart` sets up a fresh Incus by itself"));
    };
    let pool = get(root, "pool");
    let resources = client.storage_pool_resources(&pool).await.map_err(|error| {
        CommandError::caused(format!("cannot look at storage pool `{pool}`"), error)
    })?;
    let free = resources.free_bytes();
    // A pool that does not tell its size says zero of zero.
    if resources.space.total > 0 && free < LITTLE_SPACE_BYTES {
        return Err(CommandError::new(format!(
            "storage pool `{pool}` has {} MiB free; two nodes need about {} MiB",
            free / (1024 * 1024),
            LITTLE_SPACE_BYTES / (1024 * 1024)
        ))
        .hint("make room: `incus image list` and `incus list` show what could go")
        .hint("or give the machines a profile with another pool: `--profile NAME`"));
    }
    Ok(())
}

async fn network(
    client: &Client,
    devices: &BTreeMap<String, BTreeMap<String, String>>,
    profiles: &str,
) -> Result<(), CommandError> {
    let Some(nic) =
        devices.values().find(|device| device.get("type").is_some_and(|kind| kind == "nic"))
    else {
        return Err(CommandError::new(format!("instances have no network: profile `{profiles}` has no nic"))
            .hint("make a bridge and name it: `incus network create incusbr0 ipv4.nat=true && incus profile device add default eth0 nic network=incusbr0 name=eth0`")
            .hint("`./quickstart` sets up a fresh Incus by itself"));
    };
    let Some(name) = nic.get("network").or(nic.get("parent")) else { return Ok(()) };
    let found = client
        .network(name)
        .await
        .map_err(|error| CommandError::caused(format!("cannot look at network `{name}`"), error))?;
    if found.is_none() {
        return Err(CommandError::new(format!(
            "profile `{profiles}` uses network `{name}`, which is not there"
        ))
        .hint(format!("make it: `incus network create {name} ipv4.address=10.155.0.1/24 ipv4.nat=true`, with a subnet that is free")));
    }
    Ok(())
}
