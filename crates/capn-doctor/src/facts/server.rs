//! Facts about a server, from its API.

use std::collections::{BTreeMap, BTreeSet};

use incus_client::Client;
use incus_client::api::{Config, Devices, Flavor, Instance, InstanceType, Network, Server};

/// Number of IDs of an isolated instance without an explicit size.
pub(crate) const IDS_OF_ONE: u64 = 65_536;
/// Property of node images, written by `capn image build`.
const RUNC_VERSION: &str = "capn.runc-version";

/// Error while reading the facts of a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The server did not respond or returned an error.
    #[error("cannot read {what} from the server")]
    Ask {
        /// The requested data.
        what: String,
        /// Cause.
        source: incus_client::Error,
    },
}

/// Facts about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Incus or LXD.
    pub flavor: Flavor,
    /// Version, as reported.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Detected kernel features, each `"true"` or `"false"`.
    pub kernel_features: BTreeMap<String, String>,
    /// Whether it can start containers.
    pub runs_containers: bool,
    /// Total number of IDs of its isolated instances, in all visible projects.
    pub isolated_ids: u64,
    /// Unprivileged nodes without `security.nesting`, by name. Nodes that capn configures have it.
    pub nodes_without_nesting: Vec<String>,
    /// runc versions in its node images, as far as their properties tell.
    pub runc_versions: BTreeSet<String>,
    /// Networks with nodes of several clusters, by name, with the clusters as `namespace/name`. OVN
    /// networks are omitted.
    pub shared_networks: BTreeMap<String, BTreeSet<String>>,
    /// Configuration of a new instance.
    pub instances: InstanceFacts,
}

/// Configuration that a new instance gets from its profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceFacts {
    /// Profiles.
    pub profiles: Vec<String>,
    /// Profiles that do not exist.
    pub missing_profiles: Vec<String>,
    /// Storage pool of its root disk.
    pub root: Option<PoolFacts>,
    /// Names of its root disk devices. The server rejects more than one.
    pub root_devices: Vec<String>,
    /// Storage pools of the server.
    pub pools: Vec<String>,
    /// Network of its first NIC; the name is empty for a NIC without a network.
    pub network: Option<NetworkFacts>,
    /// Managed bridges of the server.
    pub bridges: Vec<String>,
}

/// A storage pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFacts {
    /// Name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// `Created`, `Pending`, `Errored` or `Unavailable`, as reported; may be empty.
    pub status: String,
    /// `dir`, `btrfs`, `zfs`, …
    pub driver: String,
    /// Configuration.
    pub config: Config,
    /// Free bytes; `None` if the pool does not report its size or is not available.
    pub free_bytes: Option<u64>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// Whether the server manages it.
    pub is_managed: bool,
    /// `bridge`, `ovn`, …
    pub kind: String,
    /// Configuration.
    pub config: Config,
}

impl NetworkFacts {
    /// Returns whether it is a managed bridge that assigns IPv4 addresses to instances.
    pub fn gives_ipv4(&self) -> bool {
        let is = |key: &str, value: &str| self.config.get(key).is_some_and(|found| found == value);
        self.exists
            && self.is_managed
            && self.kind == "bridge"
            && self.config.get("ipv4.address").is_some_and(|address| address != "none")
            && !is("ipv4.dhcp", "false")
    }
}

impl PoolFacts {
    /// Returns whether volumes can be created in it now. A server that cannot mount a pool at
    /// startup marks it `Unavailable` and continues without it.
    pub fn is_available(&self) -> bool {
        self.exists && matches!(self.status.as_str(), "" | "Created")
    }

    /// Returns whether new root disks are ZFS datasets instead of block devices of a ZFS pool.
    pub fn is_zfs_dataset(&self) -> bool {
        let block = self.config.get("volume.zfs.block_mode");
        self.driver == "zfs" && block.is_none_or(|value| value != "true")
    }
}

fn ask(what: impl Into<String>) -> impl FnOnce(incus_client::Error) -> FactsError {
    let what = what.into();
    |source| FactsError::Ask { what, source }
}

impl ServerFacts {
    /// Reads the facts without changing anything. `profiles` and `devices` are those of new
    /// instances.
    ///
    /// # Errors
    ///
    /// [`FactsError`] when the server does not respond or denies a request that instance creation
    /// needs too.
    pub async fn read(
        client: &Client,
        profiles: &[String],
        devices: &Devices,
    ) -> Result<Self, FactsError> {
        let server = client.server().await.map_err(ask("its version"))?;
        let all = client.instances_of_all_projects().await.map_err(ask("its instances"))?;
        let (isolated_ids, nodes_without_nesting) =
            (isolated_ids(&all), nodes_without_nesting(&all));
        let instances = InstanceFacts::read(client, profiles, devices).await?;
        let images = client.images().await.map_err(ask("its images"))?;
        let runc = images.iter().filter_map(|image| image.properties.get(RUNC_VERSION));
        let runc_versions = runc.cloned().collect();
        let known = Self::new(&server, instances);
        let networks = client.networks().await.map_err(ask("its networks"))?;
        let shared_networks = shared_networks(&all, &networks);
        let found = Self { isolated_ids, nodes_without_nesting, runc_versions, ..known };
        Ok(Self { shared_networks, ..found })
    }

    /// Facts from the server object alone, without instances and images.
    pub fn new(server: &Server, instances: InstanceFacts) -> Self {
        Self {
            flavor: server.flavor(),
            version: server.environment.server_version.clone(),
            kernel: server.environment.kernel_version.clone(),
            kernel_features: server.environment.kernel_features.clone(),
            runs_containers: server.environment.driver.split(" | ").any(|driver| driver == "lxc"),
            isolated_ids: 0,
            nodes_without_nesting: Vec::new(),
            shared_networks: BTreeMap::new(),
            runc_versions: BTreeSet::new(),
            instances,
        }
    }
}

fn is(config: &Config, key: &str) -> bool {
    config.get(key).is_some_and(|value| value == "true" || value == "1")
}

fn is_privileged(instance: &Instance) -> bool {
    is(&instance.expanded_config, "security.privileged")
}

fn isolated_ids(instances: &[Instance]) -> u64 {
    let isolated = instances.iter().filter(|instance| {
        is(&instance.expanded_config, "security.idmap.isolated") && !is_privileged(instance)
    });
    let size = |instance: &Instance| {
        let asked = instance.expanded_config.get("security.idmap.size")?.parse().ok()?;
        (asked > 0).then_some(asked)
    };
    isolated.map(|instance| size(instance).unwrap_or(IDS_OF_ONE)).fold(0, u64::saturating_add)
}

fn nodes_without_nesting(instances: &[Instance]) -> Vec<String> {
    let is_node = |instance: &&Instance| {
        let role = instance.config.get("user.cluster-role").map(String::as_str);
        matches!(role, Some("control-plane" | "worker"))
            && instance.instance_type == InstanceType::Container
    };
    instances
        .iter()
        .filter(is_node)
        .filter(|node| !is(&node.expanded_config, "security.nesting") && !is_privileged(node))
        .map(|node| node.name.clone())
        .collect()
}

/// Networks with instances of several clusters.
fn shared_networks(
    instances: &[Instance],
    networks: &[Network],
) -> BTreeMap<String, BTreeSet<String>> {
    let is_ovn = |name: &str| networks.iter().any(|it| it.name == name && it.kind == "ovn");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for instance in instances {
        let key = |key: &str| instance.config.get(key).map(String::as_str);
        let Some(cluster) = key("user.cluster-name") else { continue };
        let namespace = key("user.cluster-namespace").unwrap_or_default();
        let cards = instance.expanded_devices.values();
        let cards = cards.filter(|device| device.get("type").is_some_and(|kind| kind == "nic"));
        for network in cards.filter_map(|card| card.get("network").or(card.get("parent"))) {
            if !is_ovn(network) {
                let clusters = found.entry(network.clone()).or_default();
                clusters.insert(format!("{namespace}/{cluster}"));
            }
        }
    }
    found.retain(|_, clusters| clusters.len() > 1);
    found
}

/// Devices of profiles, where later ones override earlier ones, then the given devices; and the
/// profiles that do not exist.
///
/// # Errors
///
/// [`FactsError`] when the server does not respond.
pub async fn merged_devices(
    client: &Client,
    profiles: &[String],
    devices: &Devices,
) -> Result<(Devices, Vec<String>), FactsError> {
    let (mut merged, mut missing) = (Devices::new(), Vec::new());
    for name in profiles {
        match client.profile(name).await.map_err(ask(format!("profile `{name}`")))? {
            Some(profile) => merged.extend(profile.value.devices),
            None => missing.push(name.clone()),
        }
    }
    for (name, config) in devices {
        merged.entry(name.clone()).or_default().extend(config.clone());
    }
    Ok((merged, missing))
}

impl InstanceFacts {
    /// Reads the configuration of an instance with these profiles (`default` if empty) and devices.
    ///
    /// # Errors
    ///
    /// [`FactsError`] when the server does not respond.
    pub async fn read(
        client: &Client,
        profiles: &[String],
        devices: &Devices,
    ) -> Result<Self, FactsError> {
        let profiles = match profiles {
            [] => vec!["default".to_owned()],
            given => given.to_vec(),
        };
        let (merged, missing_profiles) = merged_devices(client, &profiles, devices).await?;
        let get = |device: &Config, key: &str| device.get(key).cloned().unwrap_or_default();
        let pools = client.storage_pools().await.map_err(ask("its storage pools"))?;
        let networks = client.networks().await.map_err(ask("its networks"))?;

        let is_root = |d: &Config| get(d, "type") == "disk" && get(d, "path") == "/";
        let disk = merged.values().find(|device| is_root(device));
        let root_devices = merged.iter().filter(|(_, device)| is_root(device));
        let root_devices = root_devices.map(|(name, _)| name.clone()).collect();
        let root = match disk {
            None => None,
            Some(disk) => {
                let name = get(disk, "pool");
                let pool = pools.iter().find(|pool| pool.name == name);
                let mut facts = PoolFacts {
                    exists: pool.is_some(),
                    status: pool.map(|pool| pool.status.clone()).unwrap_or_default(),
                    driver: pool.map(|pool| pool.driver.clone()).unwrap_or_default(),
                    config: pool.map(|pool| pool.config.clone()).unwrap_or_default(),
                    name,
                    free_bytes: None,
                };
                // For an unmounted pool the server reports the space of the underlying file system.
                if facts.is_available() {
                    let name = &facts.name;
                    let resources = client
                        .storage_pool_resources(name)
                        .await
                        .map_err(ask(format!("the space of storage pool `{name}`")))?;
                    // A pool without a known size reports zero of zero.
                    facts.free_bytes = (resources.space.total > 0).then(|| resources.free_bytes());
                }
                Some(facts)
            }
        };
        let card = merged.values().find(|device| get(device, "type") == "nic");
        let network = card.map(|card| {
            let name = card.get("network").or(card.get("parent")).cloned().unwrap_or_default();
            let network = networks.iter().find(|network| network.name == name);
            NetworkFacts {
                exists: network.is_some(),
                is_managed: network.is_some_and(|network| network.managed),
                kind: network.map(|network| network.kind.clone()).unwrap_or_default(),
                config: network.map(|network| network.config.clone()).unwrap_or_default(),
                name,
            }
        });
        let bridges = networks
            .iter()
            .filter(|network| network.managed && network.kind == "bridge")
            .map(|network| network.name.clone())
            .collect();
        Ok(Self {
            profiles,
            missing_profiles,
            root,
            root_devices,
            pools: pools.into_iter().map(|pool| pool.name).collect(),
            network,
            bridges,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn networks_with_nodes_of_several_clusters_are_found() {
        let instance = |cluster: &str, card: serde_json::Value| -> Instance {
            serde_json::from_value(json!({
                "config": { "user.cluster-name": cluster, "user.cluster-namespace": "default" },
                "expanded_devices": { "eth0": card },
            }))
            .unwrap()
        };
        let on = |network: &str| json!({ "type": "nic", "network": network });
        let ovn = Network { name: "ovn0".into(), kind: "ovn".into(), ..Network::default() };
        let instances = [
            instance("a", on("incusbr0")),
            instance("a", on("incusbr0")),
            instance("b", json!({ "type": "nic", "nictype": "bridged", "parent": "incusbr0" })),
            instance("c", on("capn-1")),
            instance("a", on("ovn0")),
            instance("b", on("ovn0")),
        ];
        let found = shared_networks(&instances, &[ovn]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["incusbr0"]);
        assert_eq!(found["incusbr0"].iter().collect::<Vec<_>>(), ["default/a", "default/b"]);
    }
}
