//! Findings about the configuration of new instances: the root disk, its pool, and the network.

use super::size;
use crate::facts::{InstanceFacts, NetworkFacts, PoolFacts};
use crate::finding::{Finding, Fix};

/// With less free space, a node is likely to fail during creation.
const MIN_SPACE_BYTES: u64 = 3 * 1024 * 1024 * 1024;
const QUICKSTART: &str = "`./quickstart` sets up a new Incus installation";

/// Findings about profiles, root disk and network.
pub fn instance_findings(facts: &InstanceFacts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts
        .missing_profiles
        .iter()
        .map(|name| {
            Finding::problem(
                "profiles",
                format!("profile `{name}` does not exist on the server"),
                "instances cannot be created with it",
            )
            .remedy("list the profiles: `incus profile list`")
        })
        .collect();
    match &facts.root {
        None => findings.push(no_root(facts)),
        Some(pool) => {
            findings.extend(several_roots(facts));
            findings.extend(self::pool(pool, facts));
        }
    }
    match &facts.network {
        None => findings.push(no_network(facts)),
        Some(network) => findings.extend(self::network(network, facts)),
    }
    findings
}

fn shown(facts: &InstanceFacts) -> String {
    facts.profiles.join("`, `")
}

fn no_root(facts: &InstanceFacts) -> Finding {
    let profiles = shown(facts);
    let finding = Finding::problem(
        "root-disk",
        format!("instances have no root disk: profile `{profiles}` does not define one"),
        "no instance can be created",
    );
    let only_default = facts.profiles == ["default"];
    match facts.pools.as_slice() {
        [] => {
            let finding = finding.remedy("create a pool and add it to the profile: `incus storage create default dir && incus profile device add default root disk pool=default path=/`");
            match only_default {
                true => finding.remedy(QUICKSTART).fix(Fix::CreatePool { name: "default".into() }),
                false => finding,
            }
        }
        [first, ..] => {
            let profile = facts.profiles.first().map_or("default", String::as_str);
            let finding = finding.remedy(format!(
                "incus profile device add {profile} root disk pool={first} path=/"
            ));
            match only_default {
                true => finding
                    .fix(Fix::AddRootDisk { profile: profile.to_owned(), pool: first.clone() }),
                false => finding,
            }
        }
    }
}

/// Devices with the same name override each other; others add up.
fn several_roots(facts: &InstanceFacts) -> Option<Finding> {
    let [first, second, ..] = facts.root_devices.as_slice() else { return None };
    let profiles = shown(facts);
    Some(
        Finding::problem(
            "root-disk",
            format!("instances have two root disks, devices `{first}` and `{second}`"),
            "the server refuses to create such an instance",
        )
        .remedy(format!(
            "name the root disk `root` in profile `{profiles}`, which `--storage-pool` replaces: `incus profile edit {}`",
            facts.profiles.last().map_or("default", String::as_str)
        ))
        .remedy("or define the pool in a separate profile: `--profile NAME`"),
    )
}

/// The pool for the root disks of instances is unavailable.
fn unavailable(pool: &PoolFacts, facts: &InstanceFacts) -> Finding {
    let PoolFacts { name, status, driver, .. } = pool;
    let cause = match pool.config.get("source") {
        Some(source) => format!(
            "the server could not mount `{source}` at startup: it is missing, damaged or in use"
        ),
        None => "the server could not set it up at startup".to_owned(),
    };
    let finding = Finding::problem(
        "storage-pool",
        format!("storage pool `{name}` ({driver}) is {}", status.to_lowercase()),
        format!("no instance can be created or started on it; {cause}"),
    )
    .remedy(format!(
        "find its source with `incus storage show {name}` and the cause in the log of the server, restore the source, and restart the server"
    ));
    match facts.pools.iter().find(|other| *other != name) {
        Some(other) => finding.remedy(format!("or use another pool: `--storage-pool {other}`")),
        None => finding.remedy("or create another pool and use it: `incus storage create nodes dir`, `--storage-pool nodes`"),
    }
}

fn pool(pool: &PoolFacts, facts: &InstanceFacts) -> Vec<Finding> {
    let name = &pool.name;
    if !pool.exists {
        return vec![
            Finding::problem(
                "storage-pool",
                format!("storage pool `{name}` does not exist on the server"),
                "root disks of instances cannot be created",
            )
            .remedy(format!("incus storage create {name} dir")),
        ];
    }
    if !pool.is_available() {
        return vec![unavailable(pool, facts)];
    }
    let mut findings = Vec::new();
    if pool.is_zfs_dataset() {
        findings.push(
            Finding::warning(
                "storage-driver",
                format!("storage pool `{name}` is on ZFS"),
                "kubelet 1.36.1 and later exits in unprivileged nodes whose root is a ZFS dataset, \
                 because cAdvisor tries to use /dev/zfs (google/cadvisor#3904)",
            )
            .remedy(format!("use block devices for new nodes: `incus storage set {name} volume.zfs.block_mode=true`"))
            .remedy("or use a pool with another driver: `incus storage create nodes btrfs`, and a profile that refers to it"),
        );
    } else {
        findings.push(Finding::ok(
            "storage-driver",
            format!("storage pool `{name}` uses the driver {}", pool.driver),
        ));
    }
    match pool.free_bytes {
        Some(free) if free < MIN_SPACE_BYTES => findings.push(
            Finding::problem(
                "disk-space",
                format!("storage pool `{name}` has {} free", size(free)),
                format!("two nodes need about {}", size(MIN_SPACE_BYTES)),
            )
            .remedy("free space: `incus image list` and `incus list` show what can be deleted")
            .remedy("or use another pool for the machines: `--storage-pool NAME`"),
        ),
        Some(free) => findings.push(Finding::ok(
            "disk-space",
            format!("storage pool `{name}` has {} free", size(free)),
        )),
        None => {}
    }
    findings
}

fn no_network(facts: &InstanceFacts) -> Finding {
    let profiles = shown(facts);
    let finding = Finding::problem(
        "network",
        format!("instances have no network: profile `{profiles}` has no NIC"),
        "nodes have no address",
    );
    let profile = facts.profiles.first().map_or("default", String::as_str);
    let only_default = facts.profiles == ["default"];
    match facts.bridges.first() {
        None => {
            let finding = finding
                .remedy("create a bridge and add it to the profile: `incus network create incusbr0 ipv4.nat=true && incus profile device add default eth0 nic network=incusbr0 name=eth0`")
                .remedy(QUICKSTART);
            match only_default {
                true => finding.fix(Fix::CreateBridge { name: "incusbr0".into() }),
                false => finding,
            }
        }
        Some(bridge) => {
            let finding = finding.remedy(format!(
                "incus profile device add {profile} eth0 nic network={bridge} name=eth0"
            ));
            match only_default {
                true => finding
                    .fix(Fix::AddNic { profile: profile.to_owned(), network: bridge.clone() }),
                false => finding,
            }
        }
    }
}

fn network(network: &NetworkFacts, facts: &InstanceFacts) -> Vec<Finding> {
    let name = &network.name;
    // A NIC without a network of the server, such as `nictype=p2p`.
    if name.is_empty() {
        return Vec::new();
    }
    if !network.exists {
        let profiles = shown(facts);
        let finding = Finding::problem(
            "network",
            format!("profile `{profiles}` uses network `{name}`, which does not exist"),
            "instances do not start",
        )
        .remedy(format!("create it with an unused subnet: `incus network create {name} ipv4.address=10.155.0.1/24 ipv4.nat=true`"));
        return vec![finding.fix(Fix::CreateBridge { name: name.clone() })];
    }
    let mut findings = vec![Finding::ok("network", format!("instances are on network `{name}`"))];
    let is = |key: &str, value: &str| network.config.get(key).is_some_and(|found| found == value);
    if network.is_managed && network.kind == "bridge" {
        let gives = |key: &str| network.config.get(key).is_some_and(|found| found != "none");
        if !gives("ipv4.address") {
            let found = format!("bridge `{name}` does not assign IPv4 addresses");
            let finding = match gives("ipv6.address") {
                true => Finding::warning(
                    "addresses",
                    found,
                    "clusters need IPv6-only `--pod-cidr` and `--service-cidr`",
                ),
                false => Finding::problem("addresses", found, "nodes have no address"),
            };
            findings.push(
                finding.remedy(format!("incus network set {name} ipv4.address=auto ipv4.nat=true")),
            );
        } else if !is("ipv4.nat", "true") {
            findings.push(
                Finding::warning(
                    "nat",
                    format!("bridge `{name}` has no NAT"),
                    "nodes can reach the internet only if your router has a route to their subnet",
                )
                .remedy(format!("incus network set {name} ipv4.nat=true")),
            );
        } else {
            findings.push(Finding::ok("nat", format!("bridge `{name}` has NAT")));
        }
    }
    findings
}
