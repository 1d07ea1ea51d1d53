//! containerd configuration of a node: one file per mode, in the format that the image's containerd
//! reads.

use crate::recipe::File;

/// Format of a containerd configuration, as in its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigFormat {
    /// `version = 2`, for containerd 1.x. containerd 2 converts it with a warning and accepts old
    /// plugin names.
    Version2,
    /// `version = 3`, for containerd 2 and later, in which CRI consists of two plugins.
    Version3,
}

impl ConfigFormat {
    /// Returns the format for a containerd version, such as `1.7.24` or Debian's `1.7.24~ds1-6`. A
    /// text that does not begin with a number counts as a new version.
    pub fn of(containerd: &str) -> Self {
        // Skip an epoch, which ends with a colon.
        let version = containerd.rsplit(':').next().unwrap_or(containerd);
        match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(0 | 1) => Self::Version2,
            _ => Self::Version3,
        }
    }

    /// Returns the version number in the file.
    pub fn number(self) -> u8 {
        match self {
            Self::Version2 => 2,
            Self::Version3 => 3,
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Version2 => include_str!("../recipe/node/config-v2.toml"),
            Self::Version3 => include_str!("../recipe/node/config-v3.toml"),
        }
    }
}

/// What a mode disables in containerd.
#[derive(Debug, Clone, Copy)]
struct Mode {
    name: &'static str,
    path: &'static str,
    unprivileged: bool,
    restrict_oom: bool,
}

const MODES: [Mode; 3] = [
    Mode {
        name: "default",
        path: "/etc/containerd/config.default.toml",
        unprivileged: false,
        restrict_oom: false,
    },
    Mode {
        name: "restricted",
        path: "/etc/containerd/config.restricted.toml",
        unprivileged: false,
        restrict_oom: true,
    },
    Mode {
        name: "unprivileged",
        path: "/etc/containerd/config.unprivileged.toml",
        unprivileged: true,
        restrict_oom: true,
    },
];

/// The runc wrapper of containerd 2 in a user namespace, which pods with `hostUsers: false` need.
/// containerd 1 does not support such pods.
pub(crate) const RUNC: &str = "/usr/local/lib/capn/runc";

/// Options of an overlay mount that disable id mapping in containerd, whatever was requested
/// before.
const NO_MAP: &str = "\"uidmap=\", \"gidmap=\"";

/// The settings that differ between the modes.
pub(crate) const SETTINGS: [&str; 3] =
    ["disable_apparmor", "restrict_oom_score_adj", "disable_hugetlb_controller"];

/// Values of [`SETTINGS`] in a mode: `default`, `restricted` or `unprivileged`.
pub(crate) fn settings(mode: &str) -> Option<[bool; 3]> {
    let found = MODES.iter().find(|known| known.name == mode)?;
    Some([found.unprivileged, found.restrict_oom, found.unprivileged])
}

/// Returns the configurations that `containerd-mode` selects from, with this sandbox image.
pub(crate) fn files(format: ConfigFormat, pause_image: &str) -> Vec<File> {
    MODES
        .iter()
        .map(|mode| {
            let text = format
                .template()
                .replace("{{ pause }}", pause_image)
                .replace("{{ unprivileged }}", &mode.unprivileged.to_string())
                .replace("{{ restrict_oom }}", &mode.restrict_oom.to_string())
                .replace("{{ runc }}", if mode.unprivileged { RUNC } else { "" })
                .replace("{{ no_map }}", if mode.unprivileged { NO_MAP } else { "" });
            File { path: mode.path, mode: 0o644, text }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_format_follows_the_containerd_version() {
        for (version, format) in [
            ("1.6.20~ds1-1+deb12u3", ConfigFormat::Version2),
            ("1.7.24~ds1-6+deb13u1", ConfigFormat::Version2),
            ("1.7.12-0ubuntu4", ConfigFormat::Version2),
            ("2.0.0", ConfigFormat::Version3),
            ("2.2.1-0ubuntu1~24.04.4", ConfigFormat::Version3),
            ("1:2.1.9+ds1-5", ConfigFormat::Version3),
            ("10.0.0", ConfigFormat::Version3),
            ("unknown", ConfigFormat::Version3),
        ] {
            assert_eq!(ConfigFormat::of(version), format, "{version}");
        }
    }

    #[test]
    fn each_configuration_omits_what_its_mode_forbids() {
        let table = [
            (
                ConfigFormat::Version2,
                "sandbox_image = \"registry.k8s.io/pause:9\"\n",
                "[plugins.\"io.containerd.grpc.v1.cri\".registry]",
            ),
            (
                ConfigFormat::Version3,
                "sandbox = \"registry.k8s.io/pause:9\"\n",
                "[plugins.\"io.containerd.cri.v1.images\".registry]",
            ),
        ];
        for (format, sandbox, mirrors) in table {
            let files = files(format, "registry.k8s.io/pause:9");
            assert_eq!(files.len(), 3);
            for (file, mode) in files.iter().zip(["default", "restricted", "unprivileged"]) {
                assert_eq!(file.path, format!("/etc/containerd/config.{mode}.toml"));
                for (setting, value) in SETTINGS.iter().zip(settings(mode).unwrap()) {
                    let line = format!("{setting} = {value}\n");
                    assert!(file.text.contains(&line), "{format:?} {mode} {setting}");
                }
                assert!(file.text.contains("SystemdCgroup = true"));
                let pods = mode == "unprivileged" && format == ConfigFormat::Version3;
                assert_eq!(file.text.contains(&format!("BinaryName = \"{RUNC}\"\n")), pods);
                assert_eq!(file.text.contains("slow_chown = true\n"), pods);
                assert_eq!(
                    file.text.contains("mount_options = [\"uidmap=\", \"gidmap=\"]\n"),
                    pods
                );
                let (top, tables) = file.text.split_once("\n[").unwrap();
                assert!(top.ends_with("\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n"));
                let registry = format!("{mirrors}\n  config_path = \"/etc/containerd/certs.d\"\n");
                assert!(tables.contains(&registry), "{tables}");
                assert!(file.text.contains(sandbox), "{}", file.text);
                assert!(file.text.contains(&format!("version = {}\n", format.number())));
                assert!(!file.text.contains("{{"), "{}", file.text);
            }
        }
        assert_eq!(settings("default"), Some([false, false, false]));
        assert_eq!(settings("restricted"), Some([false, true, false]));
        assert_eq!(settings("unprivileged"), Some([true, true, true]));
        assert_eq!(settings("other"), None);
    }
}
