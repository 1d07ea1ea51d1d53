//! The exact instance that is asked for.

use capn_api::{InstanceType as MachineType, Isolation, LXCMachineSpec, LoadBalancerInstanceSpec};
use incus_api::{
    Config, Devices, InstanceSource, InstanceType, InstancesPost, Profile, server::Flavor,
};

use crate::{
    InstanceName, Owner,
    devices::{self, DeviceError},
    fence::Fence,
    files::Piece,
    isolation, kind,
    modules::{self, Unloadable},
    network::card::Wire,
    profile,
};

/// Where cloud-init in the instance finds the bootstrap data.
pub const USER_DATA: &str = "cloud-init.user-data";

/// What the server is and can do, as far as a launch depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Incus or LXD.
    pub flavor: Flavor,
    /// Whether it is clustered; `target` means nothing to one that is not.
    pub clustered: bool,
    /// Whether one request can create and start an instance (`instance_create_start`).
    pub create_and_start: bool,
    /// Kernel modules it is known not to load.
    pub unloadable: Unloadable,
}

/// A launch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Body of `POST /1.0/instances`.
    pub request: InstancesPost,
    /// Cluster member or `@group`.
    pub target: Option<String>,
    /// What is put in before the first start. With any, the request does not start the instance.
    pub pieces: Vec<Piece>,
}

impl Launch {
    /// How it breaks what its cluster promises, if it does, with these profiles of the server.
    pub fn excluded(&self, isolation: Isolation, profiles: &[Profile]) -> Option<String> {
        let InstancesPost { instance_type, config, devices, .. } = &self.request;
        let is_virtual_machine = *instance_type == InstanceType::VirtualMachine;
        let breaches =
            isolation::breaches_of_launch(isolation, is_virtual_machine, profiles, config, devices);
        (!breaches.is_empty()).then(|| isolation::message(isolation, &breaches))
    }

    /// The bootstrap data, where an instance with this config was made before there was any.
    pub fn missing_data(&self, config: &Config) -> Config {
        let wanted = self.request.config.get_key_value(USER_DATA);
        wanted
            .filter(|(key, value)| config.get(*key) != Some(*value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .into_iter()
            .collect()
    }
}

/// What a machine's instance is made of.
#[derive(Clone, Debug)]
pub struct MachineLaunch<'a> {
    /// Name.
    pub name: &'a InstanceName,
    /// The keys that mark it.
    pub owner: &'a Owner,
    /// The user's wishes.
    pub spec: &'a LXCMachineSpec,
    /// How it is kept apart from the host.
    pub isolation: Isolation,
    /// Leave out the config and devices that Kubernetes needs.
    pub skip_defaults: bool,
    /// The image, resolved.
    pub source: InstanceSource,
    /// Bootstrap data, handed to cloud-init as it is. `None`: there is none yet, and the instance is
    /// not started.
    pub user_data: Option<&'a str>,
    /// The server.
    pub server: &'a ServerFacts,
    /// What the project allows.
    pub fence: &'a Fence,
    /// What is put in before the first start.
    pub pieces: Vec<Piece>,
    /// Cluster member or `@group`; empty: wherever the server likes.
    pub placement: &'a str,
    /// The first network card, where the cluster says which network it is on.
    pub wire: Option<&'a Wire>,
}

/// The launch of a machine.
///
/// Later wins: defaults, bootstrap data, the user's config, and last the owner's keys, which the
/// user cannot change. A device of the user's replaces a whole default device. A virtual machine
/// has a kernel of its own and gets no defaults.
///
/// # Errors
///
/// When a device string of the spec cannot be understood.
pub fn machine(input: &MachineLaunch<'_>) -> Result<Launch, DeviceError> {
    let MachineLaunch {
        name,
        owner,
        spec,
        isolation,
        skip_defaults,
        source,
        user_data,
        server,
        fence,
        pieces,
        placement,
        wire,
    } = input;
    let mut config = Config::new();
    let mut all_devices = Devices::new();
    if spec.instance_type == MachineType::Kind {
        let (key, value) = kind::ENTRYPOINT;
        config.insert(key.into(), value.into());
    }
    if spec.instance_type == MachineType::VirtualMachine {
        // Nothing of the host has to be opened to it.
    } else if *skip_defaults {
        config.extend(profile::id_map(*isolation));
    } else {
        let defaults = match spec.instance_type {
            MachineType::Kind => profile::kind(*isolation, &server.unloadable, fence),
            _ => profile::kubeadm(*isolation, server.flavor, &server.unloadable, fence),
        };
        config.extend(defaults.config);
        all_devices.extend(defaults.devices);
        if !fence.allows_low_level() {
            config.insert(capn_api::keys::INSTANCE_MODULES.into(), modules::FENCED.to_owned());
        } else if !server.unloadable.is_empty() {
            config.insert(capn_api::keys::INSTANCE_MODULES.into(), server.unloadable.describe());
        }
    }
    config.extend(user_data.map(|data| (USER_DATA.to_owned(), data.to_owned())));
    config.extend(spec.config.clone());
    config.extend(owner.config());
    all_devices.extend(devices::parse(&spec.devices)?);
    if let Some(wire) = wire {
        wire.put_into(&mut all_devices);
    }
    let request = InstancesPost {
        name: name.as_str().to_owned(),
        instance_type: match spec.instance_type {
            MachineType::VirtualMachine => InstanceType::VirtualMachine,
            MachineType::Unset | MachineType::Container | MachineType::Kind => {
                InstanceType::Container
            }
        },
        source: source.clone(),
        flavor: spec.flavor.clone(),
        config,
        devices: all_devices,
        profiles: profiles(&spec.profiles, *isolation),
        start: server.create_and_start && pieces.is_empty() && user_data.is_some(),
        ..InstancesPost::default()
    };
    Ok(Launch { request, target: target(placement, server), pieces: pieces.clone() })
}

/// Name of the device that [`root_disk`] is for, as in the profile that servers come with.
pub const ROOT_DEVICE: &str = "root";

/// The root disk of an instance in a storage pool, for [`ROOT_DEVICE`].
pub fn root_disk(pool: &str) -> Config {
    [("type", "disk"), ("path", "/"), ("pool", pool)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The launch of a load balancer of type `lxc`: an unprivileged container with nothing but its
/// marks. It has ids of its own where the nodes have, since the shared ones contain theirs. `nic` replaces a network card of the profile, to keep an address over a re-creation.
pub fn load_balancer(
    name: &InstanceName,
    owner: &Owner,
    spec: &LoadBalancerInstanceSpec,
    isolation: Isolation,
    source: InstanceSource,
    nic: Option<(String, Config)>,
    server: &ServerFacts,
) -> Launch {
    let mut config = owner.config();
    // systemd of the image sandboxes its services with mounts of its own.
    config.insert("security.nesting".into(), "true".into());
    config.extend(profile::id_map(isolation));
    let root = (!spec.storage_pool.is_empty())
        .then(|| (ROOT_DEVICE.to_owned(), root_disk(&spec.storage_pool)));
    let request = InstancesPost {
        name: name.as_str().to_owned(),
        instance_type: InstanceType::Container,
        source,
        flavor: spec.flavor.clone(),
        config,
        devices: nic.into_iter().chain(root).collect(),
        profiles: profiles(&spec.profiles, isolation),
        start: server.create_and_start,
        ..InstancesPost::default()
    };
    Launch { request, target: target(&spec.target, server), pieces: Vec::new() }
}

/// The config to give an instance whose kernel modules the server could not load, or `None` when
/// the list is the user's own.
pub fn without_modules(config: &Config, unloadable: &Unloadable) -> Option<Config> {
    let replacement = modules::replacement(config, unloadable)?;
    let mut changes =
        Config::from([(capn_api::keys::INSTANCE_MODULES.to_owned(), unloadable.describe())]);
    // An empty value takes a key away, in a PATCH.
    changes.insert(modules::KEY.into(), replacement.unwrap_or_default());
    Some(changes)
}

/// The profile of instances that name none. Left out of a request, a server takes those that the image
/// names, which are not known before.
const DEFAULT_PROFILE: &str = "default";

fn profiles(wanted: &[String], isolation: Isolation) -> Option<Vec<String>> {
    match (wanted, isolation) {
        ([], Isolation::Privileged) => None,
        ([], Isolation::Shared | Isolation::Isolated) => Some(vec![DEFAULT_PROFILE.to_owned()]),
        (wanted, _) => Some(wanted.to_vec()),
    }
}

fn target(wanted: &str, server: &ServerFacts) -> Option<String> {
    (server.clustered && !wanted.is_empty()).then(|| wanted.to_owned())
}

#[cfg(test)]
mod tests;
