//! How large the machines of a template are, as an autoscaler has to know before there is one.

use std::num::NonZeroU64;

use capn_api::{InstanceType, LXCMachineSpec};
use incus_api::{Config, Devices, server::Flavor};

use crate::devices;

mod cloud;
mod units;

/// A size: what is not known is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Cores.
    pub cpus: Option<NonZeroU64>,
    /// Memory in bytes.
    pub memory_bytes: Option<NonZeroU64>,
    /// Size of the root disk in bytes.
    pub disk_bytes: Option<NonZeroU64>,
}

/// Config and devices of one profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Config.
    pub config: Config,
    /// Devices.
    pub devices: Devices,
}

/// The size of a machine with this spec, in the order in which the server applies limits: the
/// profiles one after the other, the flavor, the machine's own config.
///
/// What is not limited is what the host has (`host`) for a container, and one core and 1 GiB for a
/// virtual machine. Limits that say a share (`50%`) are shares of the host.
pub fn of(spec: &LXCMachineSpec, profiles: &[Profile], host: Capacity, server: Flavor) -> Capacity {
    let mut config = Config::new();
    let mut all_devices = Devices::new();
    for profile in profiles {
        config.extend(profile.config.clone());
        all_devices.extend(profile.devices.clone());
    }
    config.extend(limits_of_flavor(&spec.flavor, server));
    config.extend(spec.config.clone());
    // What cannot be understood is said where a machine is made of it.
    all_devices.extend(devices::parse(&spec.devices).unwrap_or_default());

    let unlimited = match spec.instance_type {
        InstanceType::VirtualMachine => Capacity {
            cpus: NonZeroU64::new(1),
            memory_bytes: NonZeroU64::new(1 << 30),
            disk_bytes: None,
        },
        InstanceType::Unset | InstanceType::Container | InstanceType::Kind => {
            Capacity { disk_bytes: None, ..host }
        }
    };
    let limit = |key: &str| config.get(key).map(|value| value.trim()).filter(|v| !v.is_empty());
    Capacity {
        cpus: match limit("limits.cpu") {
            Some(text) => units::cpus(text),
            None => unlimited.cpus,
        },
        memory_bytes: match limit("limits.memory") {
            Some(text) => units::bytes(text, host.memory_bytes),
            None => unlimited.memory_bytes,
        },
        disk_bytes: all_devices
            .values()
            .filter(|device| is_root(device))
            .find_map(|device| units::bytes(device.get("size")?, None)),
    }
}

fn is_root(device: &Config) -> bool {
    let has = |key: &str, value: &str| device.get(key).is_some_and(|found| found == value);
    has("type", "disk") && has("path", "/")
}

/// The limits that a flavor stands for, as the server writes them into the instance. Nothing for
/// one that is not known here: what a server knows of clouds' names it has downloaded.
fn limits_of_flavor(flavor: &str, server: Flavor) -> Config {
    let Some(cloud::Size { cpus, memory_gib }) = cloud::size(flavor) else {
        return Config::new();
    };
    let mut limits = Config::new();
    if let Some(cpus) = cpus {
        limits.insert("limits.cpu".into(), format!("{:.0}", cpus.ceil()));
    }
    if let Some(memory) = memory_gib {
        // LXD 5.0 means megabytes where Incus has mebibytes.
        let unit = if server == Flavor::Lxd { "MB" } else { "MiB" };
        limits.insert("limits.memory".into(), format!("{:.0}{unit}", (memory * 1024.0).floor()));
    }
    limits
}

/// Name of an architecture in Kubernetes for the server's name of it; `None` for one that no
/// autoscaler knows.
pub fn architecture(name: &str) -> Option<&'static str> {
    match name {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        "s390x" => Some("s390x"),
        "ppc64le" => Some("ppc64le"),
        _ => None,
    }
}

impl Capacity {
    /// As Kubernetes writes quantities, by name of the resource.
    pub fn quantities(&self) -> Vec<(&'static str, String)> {
        let count = |n: NonZeroU64| n.to_string();
        [
            ("cpu", self.cpus.map(count)),
            ("memory", self.memory_bytes.map(units::quantity)),
            ("ephemeral-storage", self.disk_bytes.map(units::quantity)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Capacity = Capacity {
        cpus: NonZeroU64::new(16),
        memory_bytes: NonZeroU64::new(64 << 30),
        disk_bytes: None,
    };

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn sized(
        flavor: &str,
        own: &[(&str, &str)],
        profile: &[(&str, &str)],
        server: Flavor,
    ) -> String {
        let spec =
            LXCMachineSpec { flavor: flavor.into(), config: config(own), ..Default::default() };
        let profile = Profile { config: config(profile), ..Profile::default() };
        let found = of(&spec, &[profile], HOST, server).quantities();
        let text: Vec<_> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
        text.join(" ")
    }

    #[test]
    fn flavors_and_limits_are_read_as_the_servers_read_them() {
        let incus = |flavor, own: &[_], profile: &[_]| sized(flavor, own, profile, Flavor::Incus);
        for (found, expected) in [
            (incus("", &[], &[]), "cpu=16 memory=64Gi"),
            (incus("c2-m4", &[], &[]), "cpu=2 memory=4Gi"),
            (incus("c2", &[], &[]), "cpu=2 memory=64Gi"),
            (incus("m4", &[], &[]), "cpu=16 memory=4Gi"),
            (incus("c0.5-m1.5", &[], &[]), "cpu=1 memory=1536Mi"),
            (incus("t3.micro", &[], &[]), "cpu=2 memory=1Gi"),
            (incus("aws:t2.medium", &[], &[]), "cpu=2 memory=4Gi"),
            (incus("m5.2xlarge", &[], &[]), "cpu=8 memory=32Gi"),
            (incus("c5.large", &[], &[]), "cpu=2 memory=4Gi"),
            (incus("r5.xlarge", &[], &[]), "cpu=4 memory=32Gi"),
            (incus("no-such-flavor", &[], &[]), "cpu=16 memory=64Gi"),
            // The machine's own limits win over the flavor, the flavor over profiles.
            (incus("c2-m4", &[("limits.cpu", "3")], &[("limits.cpu", "8")]), "cpu=3 memory=4Gi"),
            (incus("c2-m4", &[], &[("limits.memory", "9GiB")]), "cpu=2 memory=4Gi"),
            (incus("", &[], &[("limits.cpu", "4"), ("limits.memory", "8GiB")]), "cpu=4 memory=8Gi"),
            (incus("", &[("limits.cpu", "0-3,8")], &[]), "cpu=5 memory=64Gi"),
            (incus("", &[("limits.memory", "25%")], &[]), "cpu=16 memory=16Gi"),
            (incus("", &[("limits.memory", "500MB")], &[]), "cpu=16 memory=500000000"),
            // What cannot be understood is left out: a wrong size is worse than none.
            (incus("", &[("limits.memory", "much"), ("limits.cpu", "x")], &[]), ""),
            (sized("c2-m4", &[], &[], Flavor::Lxd), "cpu=2 memory=4000000Ki"),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_virtual_machine_without_limits_has_the_servers_defaults() {
        let spec = LXCMachineSpec {
            instance_type: InstanceType::VirtualMachine,
            devices: vec!["root,type=disk,path=/,size=20GiB".into()],
            ..LXCMachineSpec::default()
        };
        let found = of(&spec, &[], HOST, Flavor::Incus).quantities();
        assert_eq!(
            found,
            [("cpu", "1".into()), ("memory", "1Gi".into()), ("ephemeral-storage", "20Gi".into())]
        );
    }

    #[test]
    fn nothing_is_guessed_about_a_host_that_does_not_tell() {
        let found =
            of(&LXCMachineSpec::default(), &[], Capacity::default(), Flavor::Incus).quantities();
        assert_eq!(found, []);
    }
}
