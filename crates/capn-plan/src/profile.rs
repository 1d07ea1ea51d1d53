//! Config and devices that Kubernetes needs in a container. They are merged into each instance;
//! nothing is created on the server.

use capn_api::Isolation;
use incus_api::{Config, Devices, server::Flavor};

use crate::{kind, modules, restrictions::ProjectRestrictions};

/// Config and devices to merge into an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Config keys.
    pub config: Config,
    /// Devices.
    pub devices: Devices,
}

/// Raw settings of a privileged node: everything is writable, with all devices and capabilities.
const PRIVILEGED_RAW_LXC: &str = "lxc.apparmor.profile=unconfined
lxc.mount.auto=proc:rw sys:rw cgroup:rw
lxc.cgroup.devices.allow=a
lxc.cgroup2.devices.allow=a
lxc.cap.drop=
";

/// Returns the defaults of a node in a container.
///
/// * The server loads kernel modules, because a container cannot. `without` lists modules that this
///   server is known to be unable to load.
/// * `/boot` is mounted read-only where kubeadm looks for the kernel configuration. A host without
///   `/boot` is fine.
/// * Nesting lets runc mount procfs. Without it, current runc cannot start a pod in an unprivileged
///   container under AppArmor.
/// * LXD confines snapd and AppArmor in the guest so that their units hang; they are masked.
/// * Settings that a restricted project forbids are omitted. Then the host must have the modules
///   loaded, and kubeadm finds the kernel configuration only in `/proc/config.gz`.
pub fn kubeadm(
    isolation: Isolation,
    server: Flavor,
    without: &modules::UnloadableModules,
    restrictions: &ProjectRestrictions,
) -> Defaults {
    let mut config = Config::from([("security.nesting".to_owned(), "true".to_owned())]);
    if let Some(list) = modules::list(without).filter(|_| restrictions.allows_low_level()) {
        config.insert(modules::KEY.into(), list);
    }
    let mut devices = Devices::new();
    if restrictions.allows_host_path("/boot") {
        devices.insert(
            "kubeadm-host-boot".into(),
            device(&[
                ("type", "disk"),
                ("source", "/boot"),
                ("path", "/usr/lib/ostree-boot"),
                ("readonly", "true"),
                ("required", "false"),
            ]),
        );
    }
    match isolation {
        Isolation::Privileged => {
            config.insert("security.privileged".into(), "true".into());
            config.insert("raw.lxc".into(), PRIVILEGED_RAW_LXC.into());
            devices.insert(
                "kubelet-dev-kmsg".into(),
                device(&[("type", "unix-char"), ("source", "/dev/kmsg"), ("path", "/dev/kmsg")]),
            );
        }
        Isolation::Shared | Isolation::Isolated => {
            if server == Flavor::Lxd && restrictions.allows_host_path("/dev/null") {
                devices.insert("00-disable-snapd".into(), masked("snapd"));
                devices.insert("00-disable-apparmor".into(), masked("apparmor"));
            }
        }
    }
    let mut defaults = Defaults { config, devices };
    defaults.config.extend(id_map(isolation));
    defaults
}

/// Returns the defaults of a kind node: those of [`kubeadm`] with kind's entry point, and without
/// nesting if the node is privileged.
pub fn kind(
    isolation: Isolation,
    without: &modules::UnloadableModules,
    restrictions: &ProjectRestrictions,
) -> Defaults {
    let mut defaults = kubeadm(isolation, Flavor::Incus, without, restrictions);
    if isolation == Isolation::Privileged {
        defaults.config.remove("security.nesting");
    }
    let (key, value) = kind::SNAPSHOTTER;
    defaults.config.insert(key.into(), value.into());
    defaults
}

/// Returns the config that an isolation requires, even if the kubeadm defaults are skipped.
pub fn id_map(isolation: Isolation) -> Config {
    match isolation {
        Isolation::Isolated => {
            Config::from([("security.idmap.isolated".to_owned(), "true".to_owned())])
        }
        Isolation::Shared | Isolation::Privileged => Config::new(),
    }
}

fn masked(unit: &str) -> Config {
    device(&[
        ("type", "disk"),
        ("source", "/dev/null"),
        ("path", &format!("/usr/lib/systemd/system/{unit}.service")),
    ])
}

fn device(settings: &[(&str, &str)]) -> Config {
    settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(isolation: Isolation, server: Flavor) -> (Vec<String>, Vec<String>) {
        within(isolation, server, &ProjectRestrictions::default())
    }

    fn within(
        isolation: Isolation,
        server: Flavor,
        restrictions: &ProjectRestrictions,
    ) -> (Vec<String>, Vec<String>) {
        let defaults =
            kubeadm(isolation, server, &modules::UnloadableModules::default(), restrictions);
        (defaults.config.into_keys().collect(), defaults.devices.into_keys().collect())
    }

    #[test]
    fn each_isolation_gets_what_it_needs_and_no_more() {
        let unprivileged = ["linux.kernel_modules", "security.nesting"];
        for (isolation, server, config, devices) in [
            (Isolation::Shared, Flavor::Incus, &unprivileged[..], &["kubeadm-host-boot"][..]),
            (
                Isolation::Isolated,
                Flavor::Incus,
                &["linux.kernel_modules", "security.idmap.isolated", "security.nesting"],
                &["kubeadm-host-boot"],
            ),
            (
                Isolation::Shared,
                Flavor::Lxd,
                &unprivileged,
                &["00-disable-apparmor", "00-disable-snapd", "kubeadm-host-boot"],
            ),
            (
                Isolation::Privileged,
                Flavor::Incus,
                &["linux.kernel_modules", "raw.lxc", "security.nesting", "security.privileged"],
                &["kubeadm-host-boot", "kubelet-dev-kmsg"],
            ),
        ] {
            let (found_config, found_devices) = names(isolation, server);
            assert_eq!(found_config, config, "{isolation} on {server}");
            assert_eq!(found_devices, devices, "{isolation} on {server}");
        }
    }

    #[test]
    fn in_a_restricted_project_a_node_needs_no_access_to_the_host() {
        let project = incus_api::Project {
            config: Config::from([("restricted".to_owned(), "true".to_owned())]),
            ..Default::default()
        };
        for (isolation, config) in [
            (Isolation::Shared, &["security.nesting"][..]),
            (Isolation::Isolated, &["security.idmap.isolated", "security.nesting"]),
        ] {
            for server in [Flavor::Incus, Flavor::Lxd] {
                let (found, devices) =
                    within(isolation, server, &ProjectRestrictions::of(&project));
                assert_eq!(found, config, "{isolation} on {server}");
                assert!(devices.is_empty(), "{isolation} on {server}: {devices:?}");
            }
        }
    }
}
