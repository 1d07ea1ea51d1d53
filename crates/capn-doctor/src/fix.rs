//! Application of the safe fixes. Each can be repeated, and none removes anything.

use std::net::Ipv4Addr;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use incus_client::Client;
use incus_client::api::{
    Config, Network, NetworkPut, NetworksPost, ProfilePut, StoragePoolPut, StoragePoolsPost,
};

use crate::finding::Fix;

/// File for persistent settings, relative to the host's `/`.
const SYSCTL_FILE: &str = "etc/sysctl.d/60-capn.conf";

/// Error while applying a fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixError {
    /// A file of the host could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A command of the host could not be run.
    #[error("cannot run `{command}`")]
    Run {
        /// The command.
        command: &'static str,
        /// Cause.
        source: std::io::Error,
    },
    /// A command on the host failed.
    #[error("`{command}` failed: {stderr}")]
    Failed {
        /// The command.
        command: &'static str,
        /// Its error output.
        stderr: String,
    },
    /// The server returned an error.
    #[error("the server cannot {act}")]
    Server {
        /// The requested action.
        act: String,
        /// Cause.
        source: incus_client::Error,
    },
    /// The profile no longer exists.
    #[error("profile `{name}` does not exist")]
    NoProfile {
        /// The profile.
        name: String,
    },
    /// No private subnet is unused.
    #[error("no subnet from 10.155.0.0/24 to 10.250.0.0/24 is free for bridge `{name}`")]
    NoSubnet {
        /// The bridge.
        name: String,
    },
}

/// Applies a fix on its server and on the host whose `/` is at `root`.
///
/// Settings take effect at once and are stored in `/etc/sysctl.d/60-capn.conf` for restarts.
/// Calling it again completes an interrupted fix.
///
/// # Errors
///
/// [`FixError`] when a file cannot be written, usually because the process is not root, or when a
/// command or a request to the server fails.
pub async fn carry_out(root: &Utf8Path, client: &Client, fix: &Fix) -> Result<(), FixError> {
    match fix {
        Fix::SetSysctl { key, value } => set_sysctl(root, key, value),
        Fix::LxcfsReadOnly => lxcfs_read_only().await,
        Fix::CreateBridge { name } => {
            if network(client, name).await?.is_none() {
                create_bridge(root, client, name).await?;
            }
            // If a profile named the missing bridge, it already has a NIC.
            if !has_device(client, "default", "nic").await? {
                add_device(client, "default", "eth0", &nic(name)).await?;
            }
            Ok(())
        }
        Fix::AddNic { profile, network } => {
            add_device(client, profile, "eth0", &nic(network)).await
        }
        Fix::CreatePool { name } => {
            let act = format!("create storage pool `{name}`");
            let pool = client.storage_pool(name).await.map_err(refused(&act))?;
            if pool.is_none() {
                let post = StoragePoolsPost {
                    name: name.clone(),
                    driver: "dir".into(),
                    put: StoragePoolPut::default(),
                };
                client.create_storage_pool(&post).await.map_err(refused(&act))?;
            }
            add_device(client, "default", "root", &disk(name)).await
        }
        Fix::AddRootDisk { profile, pool } => {
            add_device(client, profile, "root", &disk(pool)).await
        }
    }
}

fn refused(act: &str) -> impl FnOnce(incus_client::Error) -> FixError {
    let act = act.to_owned();
    |source| FixError::Server { act, source }
}

fn set_sysctl(root: &Utf8Path, key: &str, value: &str) -> Result<(), FixError> {
    let write = |path: Utf8PathBuf, text: &str| {
        std::fs::write(&path, text).map_err(|source| FixError::Write { path, source })
    };
    write(root.join(format!("proc/sys/{}", key.replace('.', "/"))), value)?;
    let path = root.join(SYSCTL_FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|source| FixError::Write { path: directory.to_owned(), source })?;
    }
    write(path, &with_setting(&text, key, value))
}

/// Returns the text of a sysctl file with exactly one line for this setting.
fn with_setting(text: &str, key: &str, value: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| line.split('=').next().map(str::trim) != Some(key))
        .map(str::to_owned)
        .collect();
    lines.push(format!("{key} = {value}"));
    lines.join("\n") + "\n"
}

async fn lxcfs_read_only() -> Result<(), FixError> {
    const COMMAND: &str = "mount -i -o remount,ro /var/lib/lxcfs";
    let mut words = COMMAND.split(' ');
    let program = words.next().unwrap_or_default();
    let mut command = tokio::process::Command::new(program);
    command.args(words).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output())
        .await
        .unwrap_or_else(|elapsed| Err(elapsed.into()))
        .map_err(|source| FixError::Run { command: COMMAND, source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(FixError::Failed {
            command: COMMAND,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn nic(network: &str) -> Config {
    pairs(&[("type", "nic"), ("network", network), ("name", "eth0")])
}

fn disk(pool: &str) -> Config {
    pairs(&[("type", "disk"), ("pool", pool), ("path", "/")])
}

async fn network(client: &Client, name: &str) -> Result<Option<Network>, FixError> {
    let found = client.network(name).await.map_err(refused("list its networks"))?;
    Ok(found.map(|found| found.value))
}

async fn create_bridge(root: &Utf8Path, client: &Client, name: &str) -> Result<(), FixError> {
    let routes = std::fs::read_to_string(root.join("proc/net/route")).unwrap_or_default();
    let subnet = free_subnet(&routes).ok_or(FixError::NoSubnet { name: name.to_owned() })?;
    let config =
        pairs(&[("ipv4.address", &subnet), ("ipv4.nat", "true"), ("ipv6.address", "none")]);
    let post = NetworksPost {
        name: name.to_owned(),
        kind: "bridge".into(),
        put: NetworkPut { config, ..NetworkPut::default() },
    };
    let act = format!("create bridge `{name}`");
    client.create_network(&post).await.map_err(refused(&act))
}

/// Address of a bridge in a subnet without a route in `/proc/net/route`, except the default route.
fn free_subnet(routes: &str) -> Option<String> {
    let taken: Vec<(u32, u32)> = routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
            Some((number(fields.get(1)?)?, number(fields.get(7)?)?))
        })
        .filter(|(_, mask)| *mask != 0)
        .collect();
    (155_u8..=250)
        .map(|third| Ipv4Addr::new(10, third, 0, 1))
        .find(|address| {
            let address = u32::from(*address);
            taken.iter().all(|(network, mask)| address & mask != network & mask)
        })
        .map(|address| format!("{address}/24"))
}

async fn has_device(client: &Client, profile: &str, kind: &str) -> Result<bool, FixError> {
    let found = client.profile(profile).await.map_err(refused("read its profiles"))?;
    Ok(found.is_some_and(|found| {
        found.value.devices.values().any(|d| d.get("type").is_some_and(|t| t == kind))
    }))
}

async fn add_device(
    client: &Client,
    profile: &str,
    name: &str,
    device: &Config,
) -> Result<(), FixError> {
    let act = format!("change profile `{profile}`");
    let found = client.profile(profile).await.map_err(refused(&act))?;
    let (mut put, etag) = match found {
        Some(found) => (
            ProfilePut {
                description: found.value.description,
                config: found.value.config,
                devices: found.value.devices,
            },
            found.etag,
        ),
        None => return Err(FixError::NoProfile { name: profile.to_owned() }),
    };
    put.devices.insert(name.to_owned(), device.clone());
    client.put_profile(profile, &put, etag.as_deref()).await.map_err(refused(&act))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_written_once_and_others_stay() {
        let first = with_setting("", "a.b", "1");
        assert_eq!(first, "a.b = 1\n");
        assert_eq!(with_setting("a.b=0\nc = 2\n", "a.b", "1"), "c = 2\na.b = 1\n");
    }

    #[test]
    fn settings_are_applied_and_persisted() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        std::fs::create_dir_all(root.join("proc/sys/kernel/keys")).unwrap();
        set_sysctl(root, "kernel.keys.maxkeys", "2000").unwrap();
        set_sysctl(root, "kernel.keys.maxkeys", "2000").unwrap();
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(read("proc/sys/kernel/keys/maxkeys"), "2000");
        assert_eq!(read(SYSCTL_FILE), "kernel.keys.maxkeys = 2000\n");
    }

    #[test]
    fn a_new_bridge_gets_an_unused_subnet() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";
        assert_eq!(free_subnet(head).unwrap(), "10.155.0.1/24");
        // 10.155.0.0/24, and the default route, which leads everywhere.
        let routes = format!(
            "{head}br0\t00009B0A\t0\t0\t0\t0\t0\t00FFFFFF\neth0\t00000000\t0\t0\t0\t0\t0\t00000000\n"
        );
        assert_eq!(free_subnet(&routes).unwrap(), "10.156.0.1/24");
        let all = format!("{head}eth0\t0000000A\t0\t0\t0\t0\t0\t000000FF\n");
        assert_eq!(free_subnet(&all), None);
    }
}
