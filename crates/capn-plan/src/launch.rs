//! The launch request of an instance.

use capn_api::{InstanceType as MachineType, Isolation, LXCMachineSpec, LoadBalancerInstanceSpec};
use incus_api::{
    Config, Devices, InstanceSource, InstanceType, InstancesPost, Profile, server::Flavor,
};

use crate::{
    InstanceName, Owner,
    devices::{self, DeviceError},
    files::InjectedFile,
    isolation, kind,
    modules::{self, UnloadableModules},
    network::nic::ClusterNic,
    profile,
    restrictions::ProjectRestrictions,
};

/// Config key from which cloud-init in the instance reads the bootstrap data.
pub const USER_DATA: &str = "cloud-init.user-data";

/// Properties of the server that a launch depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Incus or LXD.
    pub flavor: Flavor,
    /// Whether the server is clustered. `target` has no meaning on a server that is not.
    pub clustered: bool,
    /// Whether one request can create and start an instance (`instance_create_start`).
    pub create_and_start: bool,
    /// Kernel modules that the server is known to be unable to load.
    pub unloadable_modules: UnloadableModules,
}

/// A launch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Body of `POST /1.0/instances`.
    pub request: InstancesPost,
    /// Cluster member or `@group`.
    pub target: Option<String>,
    /// Files to inject before the first start. If there are any, the request does not start the
    /// instance.
    pub injected_files: Vec<InjectedFile>,
}

impl Launch {
    /// Returns how the instance would violate the isolation of its cluster with these profiles of
    /// the server, if it would.
    pub fn violation_message(&self, isolation: Isolation, profiles: &[Profile]) -> Option<String> {
        let InstancesPost { instance_type, config, devices, .. } = &self.request;
        let is_virtual_machine = *instance_type == InstanceType::VirtualMachine;
        let violations = isolation::violations_of_launch(
            isolation,
            is_virtual_machine,
            profiles,
            config,
            devices,
        );
        (!violations.is_empty()).then(|| isolation::message(isolation, &violations))
    }

    /// Returns the missing bootstrap data of an instance that was created before the data existed.
    pub fn missing_data(&self, config: &Config) -> Config {
        let wanted = self.request.config.get_key_value(USER_DATA);
        wanted
            .filter(|(key, value)| config.get(*key) != Some(*value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .into_iter()
            .collect()
    }
}

/// Input of a machine's launch request.
#[derive(Clone, Debug)]
pub struct MachineLaunch<'a> {
    /// Name of the instance.
    pub name: &'a InstanceName,
    /// The owner keys of the instance.
    pub owner: &'a Owner,
    /// Spec of the LXCMachine.
    pub spec: &'a LXCMachineSpec,
    /// Isolation of the cluster.
    pub isolation: Isolation,
    /// Omit the config and devices that Kubernetes needs.
    pub skip_defaults: bool,
    /// The image, resolved.
    pub source: InstanceSource,
    /// Bootstrap data, passed to cloud-init unchanged. `None`: it does not exist yet, and the
    /// instance is not started.
    pub user_data: Option<&'a str>,
    /// Properties of the server.
    pub server: &'a ServerFacts,
    /// Restrictions of the project.
    pub restrictions: &'a ProjectRestrictions,
    /// Files to inject before the first start.
    pub injected_files: Vec<InjectedFile>,
    /// Cluster member or `@group`. Empty: the server chooses.
    pub placement: &'a str,
    /// The first NIC, if the cluster sets its network.
    pub cluster_nic: Option<&'a ClusterNic>,
}

/// Builds the launch request of a machine.
///
/// Later sources win: the defaults, the bootstrap data, the config of the user, and the owner keys,
/// which users cannot change. A device of the user replaces a default device completely. A virtual
/// machine has its own kernel and gets no defaults.
///
/// # Errors
///
/// [`DeviceError`] if a device string of the spec is invalid.
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
        restrictions,
        injected_files,
        placement,
        cluster_nic,
    } = input;
    let mut config = Config::new();
    let mut all_devices = Devices::new();
    if spec.instance_type == MachineType::Kind {
        let (key, value) = kind::ENTRYPOINT;
        config.insert(key.into(), value.into());
    }
    if spec.instance_type == MachineType::VirtualMachine {
        // It does not need access to the host.
    } else if *skip_defaults {
        config.extend(profile::id_map(*isolation));
    } else {
        let defaults = match spec.instance_type {
            MachineType::Kind => {
                profile::kind(*isolation, &server.unloadable_modules, restrictions)
            }
            _ => profile::kubeadm(
                *isolation,
                server.flavor,
                &server.unloadable_modules,
                restrictions,
            ),
        };
        config.extend(defaults.config);
        all_devices.extend(defaults.devices);
        if !restrictions.allows_low_level() {
            config.insert(capn_api::keys::INSTANCE_MODULES.into(), modules::FENCED.to_owned());
        } else if !server.unloadable_modules.is_empty() {
            config.insert(
                capn_api::keys::INSTANCE_MODULES.into(),
                server.unloadable_modules.describe(),
            );
        }
    }
    config.extend(user_data.map(|data| (USER_DATA.to_owned(), data.to_owned())));
    config.extend(spec.config.clone());
    config.extend(owner.config());
    all_devices.extend(devices::parse(&spec.devices)?);
    if let Some(cluster_nic) = cluster_nic {
        cluster_nic.put_into(&mut all_devices);
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
        start: server.create_and_start && injected_files.is_empty() && user_data.is_some(),
        ..InstancesPost::default()
    };
    Ok(Launch {
        request,
        target: target(placement, server),
        injected_files: injected_files.clone(),
    })
}

/// Name of the device that [`root_disk`] is for, as in the default profile of servers.
pub const ROOT_DEVICE: &str = "root";

/// Returns the root disk of an instance in a storage pool, for [`ROOT_DEVICE`].
pub fn root_disk(pool: &str) -> Config {
    [("type", "disk"), ("path", "/"), ("pool", pool)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Builds the launch request of a load balancer of type `lxc`: an unprivileged container with only
/// its owner keys. If the nodes have their own IDs, it has its own IDs too, because the shared
/// range contains those of the nodes. `nic` replaces a NIC of the profile, to keep an address when
/// the instance is created again.
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
    // systemd in the image sandboxes its services with mounts.
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
    Launch { request, target: target(&spec.target, server), injected_files: Vec::new() }
}

/// Returns the new config of an instance whose kernel modules the server could not load, or `None`
/// if the user set the list.
pub fn without_modules(config: &Config, unloadable_modules: &UnloadableModules) -> Option<Config> {
    let replacement = modules::replacement(config, unloadable_modules)?;
    let mut changes = Config::from([(
        capn_api::keys::INSTANCE_MODULES.to_owned(),
        unloadable_modules.describe(),
    )]);
    // In a PATCH, an empty value removes a key.
    changes.insert(modules::KEY.into(), replacement.unwrap_or_default());
    Some(changes)
}

/// The profile of instances that set none. If a request has no profiles, the server uses those of
/// the image, which are not known in advance.
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
