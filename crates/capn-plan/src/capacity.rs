//! Size of the machines of a template. An autoscaler needs it before any machine exists.

use std::num::NonZeroU64;

use capn_api::{InstanceType, LXCMachineSpec};
use incus_api::{Config, Devices, server::Flavor};

use crate::devices;

mod cloud;
mod units;

/// A size. Unknown values are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Number of CPUs.
    pub cpus: Option<NonZeroU64>,
    /// Memory, in bytes.
    pub memory_bytes: Option<NonZeroU64>,
    /// Size of the root disk, in bytes.
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

/// Returns the size of a machine with this spec. Limits are applied in the server's order: the
/// profiles one after the other, the flavor, then the config of the machine.
///
/// Without a limit, a container gets what the host has (`host`), and a virtual machine gets one CPU
/// and 1 GiB. Relative limits (`50%`) refer to the host.
pub fn of(spec: &LXCMachineSpec, profiles: &[Profile], host: Capacity, server: Flavor) -> Capacity {
    let mut config = Config::new();
    let mut all_devices = Devices::new();
    for profile in profiles {
        config.extend(profile.config.clone());
        all_devices.extend(profile.devices.clone());
    }
    config.extend(limits_of_flavor(&spec.flavor, server));
    config.extend(spec.config.clone());
    // Invalid values are reported when a machine is created.
    all_devices.extend(devices::parse(&spec.devices).unwrap_or_default());

    // An unknown flavor leaves the size unknown; the size of the host would be a wrong guess.
    let is_unknown = !spec.flavor.is_empty() && cloud::size(&spec.flavor).is_none();
    let unlimited = match spec.instance_type {
        _ if is_unknown => Capacity::default(),
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

/// Returns whether a server may support a flavor: one of CPUs and memory, or a cloud instance type
/// (`t3.micro`, `gce:n1-standard-1`, `Standard_A1_v2`), of which servers download lists.
pub fn may_be_flavor(name: &str) -> bool {
    let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-');
    let is_of_google = || {
        let mut parts = name.split('-');
        parts.clone().count() > 1 && parts.any(|part| part.len() > 3)
    };
    let is_of_cloud = || name.contains(['.', ':', '_']) || is_of_google();
    cloud::size(name).is_some() || (name.chars().all(is_char) && is_of_cloud())
}

fn is_root(device: &Config) -> bool {
    let has = |key: &str, value: &str| device.get(key).is_some_and(|found| found == value);
    has("type", "disk") && has("path", "/")
}

/// Returns the limits of a flavor as the server writes them into the instance. Empty for an unknown
/// flavor: servers download the lists of cloud instance types.
fn limits_of_flavor(flavor: &str, server: Flavor) -> Config {
    let Some(cloud::Size { cpus, memory_gib }) = cloud::size(flavor) else {
        return Config::new();
    };
    let mut limits = Config::new();
    if let Some(cpus) = cpus {
        limits.insert("limits.cpu".into(), format!("{:.0}", cpus.ceil()));
    }
    if let Some(memory) = memory_gib {
        // LXD 5.0 uses megabytes where Incus uses mebibytes.
        let unit = if server == Flavor::Lxd { "MB" } else { "MiB" };
        limits.insert("limits.memory".into(), format!("{:.0}{unit}", (memory * 1024.0).floor()));
    }
    limits
}

/// Maps the server's name of an architecture to that of Kubernetes. `None` for one that autoscalers
/// do not know.
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
    /// Returns the quantities in Kubernetes notation, by resource name.
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
            (incus("no-such-flavor", &[], &[]), ""),
            (incus("no-such-flavor", &[("limits.cpu", "3")], &[]), "cpu=3"),
            // Limits in the machine's config override the flavor, which overrides the profiles.
            (incus("c2-m4", &[("limits.cpu", "3")], &[("limits.cpu", "8")]), "cpu=3 memory=4Gi"),
            (incus("c2-m4", &[], &[("limits.memory", "9GiB")]), "cpu=2 memory=4Gi"),
            (incus("", &[], &[("limits.cpu", "4"), ("limits.memory", "8GiB")]), "cpu=4 memory=8Gi"),
            (incus("", &[("limits.cpu", "0-3,8")], &[]), "cpu=5 memory=64Gi"),
            (incus("", &[("limits.memory", "25%")], &[]), "cpu=16 memory=16Gi"),
            (incus("", &[("limits.memory", "500MB")], &[]), "cpu=16 memory=500000000"),
            // Invalid values are left out: a wrong size is worse than none.
            (incus("", &[("limits.memory", "much"), ("limits.cpu", "x")], &[]), ""),
            (sized("c2-m4", &[], &[], Flavor::Lxd), "cpu=2 memory=4000000Ki"),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn invalid_flavors_are_not_flavors() {
        for (name, may_be) in [
            ("c2-m4", true),
            ("m4", true),
            ("t3.micro", true),
            ("t1.nowhere", true),
            ("gce:n1-standard-1", true),
            ("n1-standard-1", true),
            ("Standard_A1_v2", true),
            ("huge", false),
            ("c2m4", false),
            ("2c", false),
            ("a-b", false),
            ("", false),
            ("c2 .m4", false),
        ] {
            assert_eq!(may_be_flavor(name), may_be, "{name}");
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
    fn unknown_host_resources_stay_unknown() {
        let found =
            of(&LXCMachineSpec::default(), &[], Capacity::default(), Flavor::Incus).quantities();
        assert_eq!(found, []);
    }
}
