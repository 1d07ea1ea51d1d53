//! The node recipe as a script that a stock cloud image runs at boot.
//!
//! It uses the same packages, files and units as the node image, without those that only apply to a
//! root file system of capn (its network, its cloud-init).

use crate::{
    binaries::RELEASES,
    containerd::{self, ConfigFormat},
    recipe::{self, File, NodeRuntime},
};

/// Path of the script, where upstream's templates expect it.
pub const INSTALL_SCRIPT_PATH: &str = "/opt/cluster-api/install-kubeadm.sh";

const TEMPLATE: &str = include_str!("../recipe/install/install-kubeadm.sh");
/// Marks the end of a file in the script.
const END: &str = "CAPN_END";

/// Files of the node image for its own network and its own cloud-init.
const NOT_FOR_OTHERS: [&str; 8] = [
    "/etc/systemd/network/10-capn.network",
    "/etc/systemd/resolved.conf.d/capn.conf",
    "/etc/systemd/journald.conf.d/capn.conf",
    "/etc/systemd/system/systemd-udev-trigger.service.d/capn.conf",
    "/etc/systemd/system/systemd-networkd.service.d/capn.conf",
    "/usr/local/lib/capn/link-local",
    "/etc/cloud/cloud.cfg.d/90-capn.cfg",
    "/etc/cloud/ds-identify.cfg",
];
/// Packages of the node image that the system already has, or whose content is in container images
/// that the node pulls.
const NOT_NEEDED: [&str; 2] = ["catatonit", "cloud-init"];
/// Units of the node image that are managed by the system.
const NOT_ITS_UNITS: [&str; 2] = ["systemd-networkd.service", "systemd-resolved.service"];

/// Parameters of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallScript {
    /// Default version, such as `v1.36.2`.
    pub version: String,
    /// Base URL of `VERSION/bin/linux/ARCH/NAME` and `NAME.sha256`.
    pub kubernetes_url: String,
    /// Known SHA-256 digests of programs, by name. For others, the published digest is used.
    pub digests: Vec<(String, String)>,
}

impl InstallScript {
    /// For a version of the official downloads.
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            kubernetes_url: crate::binaries::Sources::default().kubernetes,
            digests: Vec::new(),
        }
    }

    /// Returns the text of the script. It has no braces that cloud-init's Jinja would interpret.
    pub fn text(&self) -> String {
        let role = recipe::node(NodeRuntime::Packages);
        let newer = role.newer_packages.join(" ");
        let packages = without(&role.packages, &NOT_NEEDED);
        let units = without(role.units, &NOT_ITS_UNITS);
        let started: Vec<&str> =
            units.iter().copied().filter(|unit| *unit != "capn-pod-network.service").collect();
        let files: Vec<File> = role
            .files
            .into_iter()
            .filter(|file| !NOT_FOR_OTHERS.contains(&file.path))
            .chain(recipe::kubernetes_files())
            .collect();
        let digests: Vec<String> =
            self.digests.iter().map(|(name, digest)| format!("{name} {digest}")).collect();
        let releases = RELEASES.map(|release| {
            let [amd64, arm64] = release.sha256;
            let url = release.url.replace("{version}", release.version).replace("{arch}", "ARCH");
            format!("{url} {amd64} {arm64}")
        });
        let containerd = |format| put_all(&containerd::files(format, "@PAUSE@"));
        let (two, three) = (containerd(ConfigFormat::Version2), containerd(ConfigFormat::Version3));
        [
            ("@VERSION@", self.version.as_str()),
            ("@KUBERNETES_URL@", &self.kubernetes_url),
            ("@DIGESTS@", &digests.join("\n")),
            ("@RELEASES@", &releases.join("\n")),
            ("@PACKAGES@", &packages.join(" ")),
            ("@NEWER_SUITE@", recipe::NEWER_SUITE_OF_DEBIAN_12),
            ("@NEWER_PACKAGES@", &newer),
            ("@FILES@", put_all(&files).trim_end()),
            ("@CONTAINERD_2@", two.trim_end()),
            ("@CONTAINERD_3@", three.trim_end()),
            ("@UNITS@", &units.join(" ")),
            ("@STARTED@", &started.join(" ")),
        ]
        .into_iter()
        .fold(TEMPLATE.to_owned(), |text, (mark, value)| text.replace(mark, value))
    }
}

fn without<'a>(all: &[&'a str], left_out: &[&str]) -> Vec<&'a str> {
    all.iter().copied().filter(|item| !left_out.contains(item)).collect()
}

/// Returns the shell code that writes the files.
fn put_all(files: &[File]) -> String {
    let put = |file: &File| {
        let end = if file.text.ends_with('\n') { "" } else { "\n" };
        format!("put {:04o} {} <<'{END}'\n{}{end}{END}\n", file.mode, file.path, file.text)
    };
    files.iter().map(put).collect()
}

#[cfg(test)]
mod tests {
    use std::{io::Write, process::Stdio};

    use super::*;

    fn script() -> String {
        InstallScript {
            digests: vec![("kubeadm".to_owned(), "a".repeat(64))],
            ..InstallScript::new("v1.36.2")
        }
        .text()
    }

    #[test]
    fn the_script_contains_the_recipe_but_no_base_system_changes() {
        let text = script();
        assert!(text.contains("version=\"${1:-v1.36.2}\""));
        assert!(text.contains("https://dl.k8s.io/release"));
        for part in ["containerd-mode", "kubelet.service.d", "SystemdCgroup = true", "pod-network"]
        {
            assert!(text.contains(part), "{part}");
        }
        for release in RELEASES {
            assert!(text.contains(release.sha256[1]), "{release:?}");
        }
        assert!(!text.contains("{version}") && !text.contains("{arch}"));
        assert_eq!(text.matches("put 0644 /etc/containerd/config.unprivileged.toml").count(), 2);
        for part in ["10-capn.network", "cloud.cfg", "catatonit", "systemd-networkd.service"] {
            assert!(!text.contains(part), "{part}");
        }
        let marks: Vec<_> = text.split('@').skip(1).step_by(2).collect();
        // The sandbox image is put in by the script itself.
        assert!(
            marks.iter().all(|mark| *mark == "PAUSE" || mark.contains(['\n', ' '])),
            "{marks:?}"
        );
    }

    #[test]
    fn the_script_contains_no_jinja_syntax() {
        let text = script();
        for mark in ["{{", "{%", "{#"] {
            assert!(!text.contains(mark), "{mark}");
        }
    }

    #[test]
    fn no_file_of_the_recipe_ends_the_script_early() {
        for file in
            recipe::node(NodeRuntime::Packages).files.iter().chain(&recipe::kubernetes_files())
        {
            assert!(file.text.lines().all(|line| line != END), "{}", file.path);
        }
    }

    #[test]
    fn shellcheck_finds_nothing() {
        let child = std::process::Command::new("shellcheck")
            .args(["--shell=sh", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("SKIPPED: shellcheck is not installed");
            return;
        };
        child.stdin.take().unwrap().write_all(script().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
