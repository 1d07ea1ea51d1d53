//! Content of the images: packages, files and units, and the hash of a recipe.
//!
//! Everything here is part of the hash, so that any change causes a new image.

use sha2::{Digest, Sha256};

use crate::user_namespaces;

/// A file in the root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Absolute path in the image.
    pub(crate) path: &'static str,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Its content.
    pub(crate) text: String,
}

/// A root file system: the base alone, or with a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    /// `node` or `haproxy`; used for the cache directory and the script of the role.
    pub(crate) name: &'static str,
    /// Debian packages on top of the base.
    pub(crate) packages: Vec<&'static str>,
    /// Packages from the next Debian release if the base is Debian 12.
    pub(crate) newer_packages: &'static [&'static str],
    /// Files, including those of the base.
    pub(crate) files: Vec<File>,
    /// Units to enable.
    pub(crate) units: &'static [&'static str],
}

/// Packages of every image.
pub(crate) const BASE_PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    // Without it, networkd waits forever: /sys is writable in an unprivileged container, so
    // networkd expects udev to name the NIC.
    "udev",
    "dbus",
    "iproute2",
    "kmod",
    "procps",
    "netbase",
    "ca-certificates",
];

/// Units that are useless in a container, or fail in one.
pub(crate) const MASKED_UNITS: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journald-audit.socket",
    "systemd-modules-load.service",
    "systemd-pstore.service",
];

/// Scripts of roles and steps; part of the hash.
pub(crate) const SCRIPTS: &[(&str, &str)] = &[
    ("base.sh", include_str!("../recipe/scripts/base.sh")),
    ("chroot.sh", include_str!("../recipe/scripts/chroot.sh")),
    ("closure.sh", include_str!("../recipe/scripts/closure.sh")),
    ("configure.sh", include_str!("../recipe/scripts/configure.sh")),
    ("images.sh", include_str!("../recipe/scripts/images.sh")),
    ("inside.sh", include_str!("../recipe/scripts/inside.sh")),
    ("load.sh", include_str!("../recipe/scripts/load.sh")),
    ("node.sh", include_str!("../recipe/scripts/node.sh")),
    ("pack.sh", include_str!("../recipe/scripts/pack.sh")),
    ("probe.sh", include_str!("../recipe/scripts/probe.sh")),
    ("packages.sh", include_str!("../recipe/scripts/packages.sh")),
];

/// The script `/usr/local/lib/capn/pod-network` of node images, which applies
/// `/etc/capn/pod-network.env`. It can be pushed into nodes of other images.
pub const POD_NETWORK_SCRIPT: &str = include_str!("../recipe/node/pod-network");

/// Source of [`Role::newer_packages`].
pub(crate) const NEWER_SUITE_OF_DEBIAN_12: &str = "trixie";

/// Sandbox image of a node without Kubernetes.
pub(crate) const DEFAULT_PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10.1";

/// Creates a file of the recipe.
pub(crate) fn file(path: &'static str, mode: u32, text: &str) -> File {
    File { path, mode, text: text.to_owned() }
}

fn base_files() -> Vec<File> {
    vec![
        file(
            "/etc/systemd/network/10-capn.network",
            0o644,
            include_str!("../recipe/base/eth.network"),
        ),
        file(
            "/etc/systemd/networkd.conf.d/capn.conf",
            0o644,
            include_str!("../recipe/base/networkd.conf"),
        ),
        file(
            "/etc/systemd/resolved.conf.d/capn.conf",
            0o644,
            include_str!("../recipe/base/resolved.conf"),
        ),
        file(
            "/etc/systemd/journald.conf.d/capn.conf",
            0o644,
            include_str!("../recipe/base/journald.conf"),
        ),
        file(
            "/etc/systemd/system/systemd-udev-trigger.service.d/capn.conf",
            0o644,
            include_str!("../recipe/base/udev-trigger.conf"),
        ),
        file(
            "/etc/systemd/system/systemd-networkd.service.d/capn.conf",
            0o644,
            include_str!("../recipe/base/networkd-service.conf"),
        ),
        file("/usr/local/lib/capn/link-local", 0o755, include_str!("../recipe/base/link-local")),
    ]
}

/// The load balancer.
pub(crate) fn haproxy() -> Role {
    let mut files = base_files();
    files.push(file(
        "/etc/haproxy/haproxy.cfg",
        0o644,
        include_str!("../recipe/haproxy/haproxy.cfg"),
    ));
    Role {
        name: "haproxy",
        packages: vec!["haproxy"],
        newer_packages: &[],
        files,
        units: &["systemd-networkd.service", "systemd-resolved.service", "haproxy.service"],
    }
}

/// Source of the container runtime of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeRuntime {
    /// Packages of the distribution.
    Packages,
    /// A directory; its programs are added with the content.
    Directory,
}

/// A node with or without Kubernetes. Both use the same cached layer, since its configuration does
/// not depend on Kubernetes; the containerd configuration is added with the content.
pub(crate) fn node(runtime: NodeRuntime) -> Role {
    let mut files = base_files();
    let mut packages = vec![
        "catatonit",
        "cloud-init",
        "containernetworking-plugins",
        "ethtool",
        "iptables",
        "nftables",
        "socat",
    ];
    match runtime {
        NodeRuntime::Packages => packages.extend(["containerd", "runc"]),
        NodeRuntime::Directory => {
            // For a runc that is not static.
            packages.push("libseccomp2");
            files.push(file(
                "/usr/lib/systemd/system/containerd.service",
                0o644,
                include_str!("../recipe/node/containerd.service"),
            ));
        }
    }
    files.extend([
        file("/etc/cloud/cloud.cfg.d/90-capn.cfg", 0o644, include_str!("../recipe/node/cloud.cfg")),
        file("/etc/cloud/ds-identify.cfg", 0o644, include_str!("../recipe/node/ds-identify.cfg")),
        file(
            "/etc/systemd/system/containerd.service.d/capn.conf",
            0o644,
            include_str!("../recipe/node/containerd.conf"),
        ),
        file(
            "/usr/local/lib/capn/containerd-mode",
            0o755,
            include_str!("../recipe/node/containerd-mode"),
        ),
        file(
            "/etc/systemd/system.conf.d/capn.conf",
            0o644,
            include_str!("../recipe/node/system.conf"),
        ),
        file("/etc/crictl.yaml", 0o644, include_str!("../recipe/node/crictl.yaml")),
        file("/etc/sysctl.d/90-capn.conf", 0o644, include_str!("../recipe/node/sysctl.conf")),
        file(
            "/etc/systemd/system/capn-cgroup-v1.service",
            0o644,
            include_str!("../recipe/node/capn-cgroup-v1.service"),
        ),
        file("/usr/local/lib/capn/cgroup-v1", 0o755, include_str!("../recipe/node/cgroup-v1")),
        file(
            "/etc/systemd/system/capn-pod-network.service",
            0o644,
            include_str!("../recipe/node/capn-pod-network.service"),
        ),
        file("/usr/local/lib/capn/pod-network", 0o755, POD_NETWORK_SCRIPT),
    ]);
    files.extend(user_namespaces::files());
    Role {
        name: "node",
        packages,
        // Debian 12 has 1.6, which is too old for kubelet. Its own runc stays, because the newer
        // one needs a newer C library.
        newer_packages: match runtime {
            NodeRuntime::Packages => &["containerd"],
            NodeRuntime::Directory => &[],
        },
        files,
        units: &[
            "systemd-networkd.service",
            "systemd-resolved.service",
            "containerd.service",
            "capn-cgroup-v1.service",
            "capn-pod-network.service",
        ],
    }
}

/// Returns the additional files of a node with Kubernetes, besides the binaries.
pub(crate) fn kubernetes_files() -> Vec<File> {
    vec![
        file(
            "/usr/lib/systemd/system/kubelet.service",
            0o644,
            include_str!("../recipe/kubernetes/kubelet.service"),
        ),
        file(
            "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
            0o644,
            include_str!("../recipe/kubernetes/10-kubeadm.conf"),
        ),
    ]
}

/// A hash of labelled parts, which depends on the boundaries and the order of the parts.
#[derive(Clone)]
pub(crate) struct Hash(Sha256);

impl Hash {
    /// A hash of its purpose only.
    pub(crate) fn new(purpose: &str) -> Self {
        Self(Sha256::new()).part("purpose", purpose)
    }

    /// Adds a part.
    pub(crate) fn part(mut self, label: &str, value: &str) -> Self {
        for text in [label, value] {
            self.0.update((text.len() as u64).to_be_bytes());
            self.0.update(text.as_bytes());
        }
        self
    }

    /// Adds a script of [`SCRIPTS`].
    pub(crate) fn script(self, name: &str) -> Self {
        let text = SCRIPTS.iter().find(|(found, _)| *found == name).map_or("", |(_, text)| text);
        self.part(name, text)
    }

    /// Adds files.
    pub(crate) fn files(mut self, files: &[File]) -> Self {
        for file in files {
            self = self.part(&format!("{} {:o}", file.path, file.mode), &file.text);
        }
        self
    }

    /// 64 hex digits.
    pub(crate) fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_and_order_of_parts_change_the_hash() {
        let hash = |parts: &[(&str, &str)]| {
            parts.iter().fold(Hash::new("t"), |hash, (l, v)| hash.part(l, v)).finish()
        };
        let one = hash(&[("ab", "c")]);
        assert_ne!(one, hash(&[("a", "bc")]));
        assert_ne!(hash(&[("a", "1"), ("b", "2")]), hash(&[("b", "2"), ("a", "1")]));
        assert_eq!(one, hash(&[("ab", "c")]));
        assert_eq!(one.len(), 64);
    }

    #[test]
    fn every_step_script_is_in_the_recipe() {
        let names = ["base.sh", "packages.sh", "configure.sh", "images.sh", "pack.sh"];
        for name in names.into_iter().chain(["closure.sh", "load.sh"]) {
            assert!(SCRIPTS.iter().any(|(found, _)| *found == name), "{name}");
        }
    }
}
