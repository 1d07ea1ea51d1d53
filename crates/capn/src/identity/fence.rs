//! The project that a restricted identity is limited to. Pure.
//!
//! The server checks every request of the identity against the project's `restricted.*` keys.
//! Their defaults forbid most; all that matter are written down all the same, so that a later
//! default cannot open what is closed now, and so that an administrator sees what holds.

use incus_client::api::{Config, Devices};

/// Mark of a project that was made for an identity: the identity's name.
pub const OWNER: &str = "user.capn.identity";

/// What a restricted project asks for. None keeps what is there, or is the default.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Most instances at once, load balancers included.
    pub instances: Option<u32>,
    /// Most processors of all instances together.
    pub cpus: Option<u32>,
    /// Most memory of all instances together, as `40GiB`.
    pub memory: Option<String>,
    /// Processors of an instance that does not say.
    pub machine_cpus: Option<u32>,
    /// Memory of an instance that does not say.
    pub machine_memory: Option<String>,
    /// Most processes of all instances together.
    pub processes: Option<u32>,
    /// Processes of an instance that does not say.
    pub machine_processes: Option<u32>,
    /// Most room of all root disks together, as `200GiB`. Without one, disks are not counted.
    pub disk: Option<String>,
    /// Room of the root disk of an instance that does not say.
    pub machine_disk: Option<String>,
    /// Whether each instance has to have host user ids of its own.
    pub isolated: bool,
}

/// The network that instances may use, and the pool of their disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A managed network of the default project.
    pub network: String,
    /// A storage pool.
    pub pool: String,
}

const INSTANCES: u32 = 10;
const MACHINE_CPUS: u32 = 2;
const MACHINE_MEMORY_GIB: u32 = 4;
/// Far more than a node with 110 pods has, and far fewer than a host can have.
const MACHINE_PROCESSES: u32 = 10_000;
const MACHINE_DISK: &str = "20GiB";

/// Keys that can only be chosen while a project is empty.
const FEATURES: [(&str, &str); 3] = [
    // With images of the default project, the tenant could delete them.
    ("features.images", "true"),
    ("features.profiles", "true"),
    ("features.storage.volumes", "true"),
];

/// Keys that make the fence, with the values that hold in any case.
const FENCE: [(&str, &str); 15] = [
    ("restricted", "true"),
    // Without nesting no container starts in a node; it opens nothing on the host.
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

/// The configuration of the project: `present` is what it has, if it is there.
pub fn project(
    name: &str,
    present: Option<&Config>,
    wishes: &Wishes,
    networks: &[String],
) -> Config {
    let mut config = present.cloned().unwrap_or_default();
    let mut set = |key: &str, value: String| config.insert(key.to_owned(), value);
    if present.is_none() {
        for (key, value) in FEATURES {
            set(key, value.to_owned());
        }
    }
    for (key, value) in FENCE {
        set(key, value.to_owned());
    }
    set(OWNER, name.to_owned());
    let privilege = if wishes.isolated { "isolated" } else { "unprivileged" };
    set("restricted.containers.privilege", privilege.to_owned());
    set("restricted.networks.access", networks.join(","));
    let instances = wishes.instances.unwrap_or(INSTANCES);
    let cpus = instances * wishes.machine_cpus.unwrap_or(MACHINE_CPUS);
    let memory = format!("{}GiB", instances * MACHINE_MEMORY_GIB);
    let processes = instances.saturating_mul(wishes.machine_processes.unwrap_or(MACHINE_PROCESSES));
    let limits = [
        ("limits.instances", wishes.instances.map(|n| n.to_string()), instances.to_string()),
        ("limits.cpu", wishes.cpus.map(|n| n.to_string()), cpus.to_string()),
        ("limits.memory", wishes.memory.clone(), memory),
        ("limits.processes", wishes.processes.map(|n| n.to_string()), processes.to_string()),
    ];
    if let Some(disk) = &wishes.disk {
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

/// The project's default profile: a disk, a network card, and how much an instance takes that
/// does not say, without which the server refuses it in a project with limits.
pub fn profile(
    config: &Config,
    devices: &Devices,
    wishes: &Wishes,
    place: &Place,
) -> (Config, Devices) {
    let (mut config, mut devices) = (config.clone(), devices.clone());
    let defaults = [
        ("limits.cpu", wishes.machine_cpus.map(|n| n.to_string()), MACHINE_CPUS.to_string()),
        ("limits.memory", wishes.machine_memory.clone(), format!("{MACHINE_MEMORY_GIB}GiB")),
        (
            "limits.processes",
            wishes.machine_processes.map(|n| n.to_string()),
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
    if wishes.isolated {
        // The server forbids a false value only; an absent one has to be filled in.
        config.insert("security.idmap.isolated".to_owned(), "true".to_owned());
    }
    let has = |devices: &Devices, kind: &str| {
        devices.values().any(|device| device.get("type").is_some_and(|found| found == kind))
    };
    let device = |settings: &[(&str, &str)]| -> Config {
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    if !has(&devices, "disk") {
        let root = device(&[("type", "disk"), ("path", "/"), ("pool", &place.pool)]);
        devices.insert("root".to_owned(), root);
    }
    // In a project with a limit of disks the server refuses a root disk without a size.
    let size = wishes.machine_disk.as_deref().or(wishes.disk.as_ref().map(|_| MACHINE_DISK));
    let root = devices.values_mut().find(|device| device.get("path").is_some_and(|it| it == "/"));
    if let (Some(size), Some(root)) = (size, root) {
        match &wishes.machine_disk {
            Some(_) => root.insert("size".to_owned(), size.to_owned()),
            None => Some(root.entry("size".to_owned()).or_insert_with(|| size.to_owned()).clone()),
        };
    }
    if !has(&devices, "nic") {
        let nic = device(&[("type", "nic"), ("name", "eth0"), ("network", &place.network)]);
        devices.insert("eth0".to_owned(), nic);
    }
    (config, devices)
}

/// The network and pool of a profile, where it names them.
pub fn place(devices: &Devices) -> (Option<String>, Option<String>) {
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

    fn place() -> Place {
        Place { network: "incusbr0".into(), pool: "default".into() }
    }

    #[test]
    fn a_new_project_lets_nobody_near_the_host() {
        let config = project("tenant", None, &Wishes::default(), &["incusbr0".into()]);
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
    fn a_second_run_mends_the_fence_and_keeps_the_limits_unless_others_are_given() {
        let networks = ["incusbr0".to_owned()];
        let wishes = Wishes { instances: Some(5), ..Wishes::default() };
        let mut present = project("tenant", None, &wishes, &networks);
        present.insert("restricted".into(), "false".into());
        present.insert("user.note".into(), "mine".into());
        let again = project("tenant", Some(&present), &Wishes::default(), &networks);
        assert_eq!(again["restricted"], "true");
        assert_eq!(again["limits.instances"], "5");
        assert_eq!(again["limits.cpu"], "10");
        assert_eq!(again["user.note"], "mine");
        let wishes = Wishes { memory: Some("8GiB".into()), ..Wishes::default() };
        assert_eq!(project("tenant", Some(&again), &wishes, &networks)["limits.memory"], "8GiB");
        assert_eq!(project("tenant", Some(&again), &Wishes::default(), &networks), again);
    }

    #[test]
    fn the_profile_gives_each_machine_a_disk_a_network_and_a_size() {
        let wishes = Wishes { isolated: true, ..Wishes::default() };
        let (config, devices) = profile(&Config::new(), &Devices::new(), &wishes, &place());
        assert_eq!(config["limits.cpu"], "2");
        assert_eq!(config["limits.memory"], "4GiB");
        assert_eq!(config["security.idmap.isolated"], "true");
        assert_eq!(devices["root"]["pool"], "default");
        assert_eq!(devices["eth0"]["network"], "incusbr0");
        assert_eq!(super::place(&devices), (Some("incusbr0".into()), Some("default".into())));
        assert_eq!(config["limits.processes"], "10000");
        assert_eq!(devices["root"].get("size"), None);
        let again = profile(&config, &devices, &Wishes::default(), &place());
        assert_eq!(again, (config, devices));
    }

    #[test]
    fn where_disks_are_counted_each_machine_has_a_size_of_its_disk() {
        let wishes = Wishes { disk: Some("200GiB".into()), ..Wishes::default() };
        assert_eq!(project("tenant", None, &wishes, &[])["limits.disk"], "200GiB");
        let (config, devices) = profile(&Config::new(), &Devices::new(), &wishes, &place());
        assert_eq!(devices["root"]["size"], "20GiB");
        let asked = Wishes { machine_disk: Some("50GiB".into()), ..wishes.clone() };
        let (config, devices) = profile(&config, &devices, &asked, &place());
        assert_eq!(devices["root"]["size"], "50GiB");
        let (_, again) = profile(&config, &devices, &wishes, &place());
        assert_eq!(again["root"]["size"], "50GiB", "it is kept");
    }
}
