//! The project that a restricted identity is limited to. Pure functions.
//!
//! The server checks every request of the identity against the project's `restricted.*` keys. The
//! defaults forbid most actions. All relevant keys are set explicitly, so that a changed default
//! cannot lift a restriction and an administrator can see what applies.

use incus_client::api::{Config, Devices};

/// Configuration key that marks a project created for an identity; its value is the identity's
/// name.
pub const OWNER: &str = "user.capn.identity";

/// Options of a restricted project. `None` keeps the current value or uses the default.
#[derive(Clone, Debug, Default)]
pub struct TenantOptions {
    /// Maximum number of instances, including load balancers.
    pub instances: Option<u32>,
    /// CPU limit of the project.
    pub cpus: Option<u32>,
    /// Memory limit of the project, for example `40GiB`.
    pub memory: Option<String>,
    /// Default CPU limit of an instance.
    pub machine_cpus: Option<u32>,
    /// Default memory limit of an instance.
    pub machine_memory: Option<String>,
    /// Process limit of the project.
    pub processes: Option<u32>,
    /// Default process limit of an instance.
    pub machine_processes: Option<u32>,
    /// Limit for the sum of root disk sizes, for example `200GiB`. `None` sets no limit.
    pub disk: Option<String>,
    /// Default size of a root disk.
    pub machine_disk: Option<String>,
    /// Whether every instance must have its own host ID range (`security.idmap.isolated`).
    pub isolated: bool,
}

/// The network that instances may use and the storage pool of their disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAndPool {
    /// Managed network in the default project.
    pub network: String,
    /// Storage pool.
    pub pool: String,
}

const INSTANCES: u32 = 10;
const MACHINE_CPUS: u32 = 2;
const MACHINE_MEMORY_GIB: u32 = 4;
/// Well above what a node with 110 pods needs, and well below the limit of a host.
const MACHINE_PROCESSES: u32 = 10_000;
const MACHINE_DISK: &str = "20GiB";

/// Keys that can only be set while a project is empty.
const FEATURES: [(&str, &str); 3] = [
    // Sharing the images of the default project would let the tenant delete them.
    ("features.images", "true"),
    ("features.profiles", "true"),
    ("features.storage.volumes", "true"),
];

/// Restriction keys with their fixed values.
const RESTRICTIONS: [(&str, &str); 15] = [
    ("restricted", "true"),
    // Containers in a node need nesting; it does not weaken isolation from the host.
    ("restricted.containers.nesting", "allow"),
    ("restricted.containers.lowlevel", "block"),
    ("restricted.containers.interception", "block"),
    ("restricted.virtual-machines.lowlevel", "block"),
    ("restricted.cluster.target", "block"),
    ("restricted.devices.disk", "managed"),
    ("restricted.devices.nic", "managed"),
    ("restricted.devices.unix-char", "block"),
    ("restricted.devices.unix-block", "block"),
    ("restricted.devices.unix-hotplug", "block"),
    ("restricted.devices.usb", "block"),
    ("restricted.devices.gpu", "block"),
    ("restricted.devices.infiniband", "block"),
    ("restricted.devices.proxy", "block"),
];

/// Returns the configuration of the project. `present` is its current configuration, if it exists.
pub fn project(
    name: &str,
    present: Option<&Config>,
    options: &TenantOptions,
    networks: &[String],
) -> Config {
    let mut config = present.cloned().unwrap_or_default();
    let mut set = |key: &str, value: String| config.insert(key.to_owned(), value);
    if present.is_none() {
        for (key, value) in FEATURES {
            set(key, value.to_owned());
        }
    }
    for (key, value) in RESTRICTIONS {
        set(key, value.to_owned());
    }
    set(OWNER, name.to_owned());
    let privilege = if options.isolated { "isolated" } else { "unprivileged" };
    set("restricted.containers.privilege", privilege.to_owned());
    set("restricted.networks.access", networks.join(","));
    let instances = options.instances.unwrap_or(INSTANCES);
    let cpus = instances * options.machine_cpus.unwrap_or(MACHINE_CPUS);
    let memory = format!("{}GiB", instances * MACHINE_MEMORY_GIB);
    let processes =
        instances.saturating_mul(options.machine_processes.unwrap_or(MACHINE_PROCESSES));
    let limits = [
        ("limits.instances", options.instances.map(|n| n.to_string()), instances.to_string()),
        ("limits.cpu", options.cpus.map(|n| n.to_string()), cpus.to_string()),
        ("limits.memory", options.memory.clone(), memory),
        ("limits.processes", options.processes.map(|n| n.to_string()), processes.to_string()),
    ];
    if let Some(disk) = &options.disk {
        config.insert("limits.disk".to_owned(), disk.clone());
    }
    for (key, asked, default) in limits {
        if let Some(asked) = asked {
            config.insert(key.to_owned(), asked);
        } else {
            config.entry(key.to_owned()).or_insert(default);
        }
    }
    config
}

/// Returns the default profile of the project: a disk, a NIC, and default limits. Without limits,
/// the server refuses instances in a project that has limits.
pub fn profile(
    config: &Config,
    devices: &Devices,
    options: &TenantOptions,
    network_and_pool: &NetworkAndPool,
) -> (Config, Devices) {
    let (mut config, mut devices) = (config.clone(), devices.clone());
    let defaults = [
        ("limits.cpu", options.machine_cpus.map(|n| n.to_string()), MACHINE_CPUS.to_string()),
        ("limits.memory", options.machine_memory.clone(), format!("{MACHINE_MEMORY_GIB}GiB")),
        (
            "limits.processes",
            options.machine_processes.map(|n| n.to_string()),
            MACHINE_PROCESSES.to_string(),
        ),
    ];
    for (key, asked, default) in defaults {
        if let Some(asked) = asked {
            config.insert(key.to_owned(), asked);
        } else {
            config.entry(key.to_owned()).or_insert(default);
        }
    }
    if options.isolated {
        // The server only rejects an explicit false value; an absent value must be set here.
        config.insert("security.idmap.isolated".to_owned(), "true".to_owned());
    }
    let has = |devices: &Devices, kind: &str| {
        devices.values().any(|device| device.get("type").is_some_and(|found| found == kind))
    };
    let device = |settings: &[(&str, &str)]| -> Config {
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    if !has(&devices, "disk") {
        let root = device(&[("type", "disk"), ("path", "/"), ("pool", &network_and_pool.pool)]);
        devices.insert("root".to_owned(), root);
    }
    // In a project with a disk limit, the server refuses a root disk without a size.
    let size = options.machine_disk.as_deref().or(options.disk.as_ref().map(|_| MACHINE_DISK));
    let root = devices.values_mut().find(|device| device.get("path").is_some_and(|it| it == "/"));
    if let (Some(size), Some(root)) = (size, root) {
        match &options.machine_disk {
            Some(_) => root.insert("size".to_owned(), size.to_owned()),
            None => Some(root.entry("size".to_owned()).or_insert_with(|| size.to_owned()).clone()),
        };
    }
    if !has(&devices, "nic") {
        let nic =
            device(&[("type", "nic"), ("name", "eth0"), ("network", &network_and_pool.network)]);
        devices.insert("eth0".to_owned(), nic);
    }
    (config, devices)
}

/// Returns the network and storage pool that a profile names, if any.
pub fn network_and_pool(devices: &Devices) -> (Option<String>, Option<String>) {
    let of = |kind: &str, key: &str| {
        devices
            .values()
            .filter(|device| device.get("type").is_some_and(|found| found == kind))
            .find_map(|device| device.get(key).cloned())
    };
    (of("nic", "network"), of("disk", "pool"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network_and_pool() -> NetworkAndPool {
        NetworkAndPool { network: "incusbr0".into(), pool: "default".into() }
    }

    #[test]
    fn a_new_project_blocks_access_to_the_host() {
        let config = project("tenant", None, &TenantOptions::default(), &["incusbr0".into()]);
        for (key, value) in [
            ("restricted", "true"),
            ("restricted.containers.privilege", "unprivileged"),
            ("restricted.containers.lowlevel", "block"),
            ("restricted.devices.disk", "managed"),
            ("restricted.networks.access", "incusbr0"),
            ("features.images", "true"),
            ("limits.instances", "10"),
            ("limits.cpu", "20"),
            ("limits.memory", "40GiB"),
            ("limits.processes", "100000"),
            (OWNER, "tenant"),
        ] {
            assert_eq!(config.get(key).map(String::as_str), Some(value), "{key}");
        }
    }

    #[test]
    fn a_second_run_restores_restrictions_and_keeps_limits_unless_overridden() {
        let networks = ["incusbr0".to_owned()];
        let options = TenantOptions { instances: Some(5), ..TenantOptions::default() };
        let mut present = project("tenant", None, &options, &networks);
        present.insert("restricted".into(), "false".into());
        present.insert("user.note".into(), "mine".into());
        let again = project("tenant", Some(&present), &TenantOptions::default(), &networks);
        assert_eq!(again["restricted"], "true");
        assert_eq!(again["limits.instances"], "5");
        assert_eq!(again["limits.cpu"], "10");
        assert_eq!(again["user.note"], "mine");
        let options = TenantOptions { memory: Some("8GiB".into()), ..TenantOptions::default() };
        assert_eq!(project("tenant", Some(&again), &options, &networks)["limits.memory"], "8GiB");
        assert_eq!(project("tenant", Some(&again), &TenantOptions::default(), &networks), again);
    }

    #[test]
    fn the_profile_gives_each_machine_a_disk_a_network_and_a_size() {
        let options = TenantOptions { isolated: true, ..TenantOptions::default() };
        let (config, devices) =
            profile(&Config::new(), &Devices::new(), &options, &network_and_pool());
        assert_eq!(config["limits.cpu"], "2");
        assert_eq!(config["limits.memory"], "4GiB");
        assert_eq!(config["security.idmap.isolated"], "true");
        assert_eq!(devices["root"]["pool"], "default");
        assert_eq!(devices["eth0"]["network"], "incusbr0");
        assert_eq!(
            super::network_and_pool(&devices),
            (Some("incusbr0".into()), Some("default".into()))
        );
        assert_eq!(config["limits.processes"], "10000");
        assert_eq!(devices["root"].get("size"), None);
        let again = profile(&config, &devices, &TenantOptions::default(), &network_and_pool());
        assert_eq!(again, (config, devices));
    }

    #[test]
    fn with_a_disk_limit_each_root_disk_has_a_size() {
        let options = TenantOptions { disk: Some("200GiB".into()), ..TenantOptions::default() };
        assert_eq!(project("tenant", None, &options, &[])["limits.disk"], "200GiB");
        let (config, devices) =
            profile(&Config::new(), &Devices::new(), &options, &network_and_pool());
        assert_eq!(devices["root"]["size"], "20GiB");
        let asked = TenantOptions { machine_disk: Some("50GiB".into()), ..options.clone() };
        let (config, devices) = profile(&config, &devices, &asked, &network_and_pool());
        assert_eq!(devices["root"]["size"], "50GiB");
        let (_, again) = profile(&config, &devices, &options, &network_and_pool());
        assert_eq!(again["root"]["size"], "50GiB", "it is kept");
    }
}
