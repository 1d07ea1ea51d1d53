//! Official releases of the container runtime, with their digests.

use crate::build::Architecture;

/// A file of an official release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Release {
    /// Name of the program.
    pub(crate) name: &'static str,
    /// Without `v`.
    pub(crate) version: &'static str,
    /// URL with the placeholders `{version}` and `{arch}`.
    pub(crate) url: &'static str,
    /// SHA-256 of the file for amd64 and for arm64.
    pub(crate) sha256: [&'static str; 2],
    /// Programs in the file, which is an archive if its name ends in `.tar.gz`, else a single
    /// program.
    pub(crate) programs: &'static [&'static str],
}

/// Releases for nodes whose runtime comes neither from a directory nor from the distribution. All
/// are static.
///
/// The digests come from kubespray's table of published files
/// (`roles/kubespray_defaults/vars/main/checksums.yml` at 46dbdd3994b3, August 2026), which its
/// `scripts/` read from the `.sha256sum` files of the projects. They have not been compared with
/// the files themselves: a different download is rejected.
pub(crate) const RELEASES: [Release; 3] = [
    Release {
        name: "containerd",
        version: "2.3.4",
        url: "https://github.com/containerd/containerd/releases/download/v{version}/containerd-static-{version}-linux-{arch}.tar.gz",
        sha256: [
            "1d0eccd52471ab75e8d4645b538f73dc635f905cd2be776366eb1036a0089595",
            "ad21f456a69bca9c183a8bde892a7576d5d09ae88b3e376a47bde4a886037ab3",
        ],
        programs: &["ctr", "containerd-shim-runc-v2", "containerd"],
    },
    Release {
        name: "runc",
        version: "1.4.3",
        url: "https://github.com/opencontainers/runc/releases/download/v{version}/runc.{arch}",
        sha256: [
            "f6ae8efc0fa40079e1475e97cbe9d1bd3f106a28d6af78a11d9f1bd565515e60",
            "633301e2e32f8a5ad54031aab4901eb00308bec677dd15faa2751e8f9dab5ca4",
        ],
        programs: &["runc"],
    },
    Release {
        name: "crictl",
        version: "1.36.0",
        url: "https://github.com/kubernetes-sigs/cri-tools/releases/download/v{version}/crictl-v{version}-linux-{arch}.tar.gz",
        sha256: [
            "83855e114566a8a8c44c548d515670f51de3a5e1da8b2effb59870e2f10c25a3",
            "68328594ccf780a80ae2b092d9f6ce484eec7cf540c275242e8fd954bfd95332",
        ],
        programs: &["crictl"],
    },
];

impl Release {
    /// Returns the URL of the file for an architecture.
    pub(crate) fn url(&self, architecture: Architecture) -> String {
        self.url.replace("{version}", self.version).replace("{arch}", architecture.as_str())
    }

    /// Returns the digest of the file for an architecture.
    pub(crate) fn digest(&self, architecture: Architecture) -> &'static str {
        match architecture {
            Architecture::Amd64 => self.sha256[0],
            Architecture::Arm64 => self.sha256[1],
        }
    }

    /// Returns whether the file is an archive.
    pub(crate) fn is_archive(&self) -> bool {
        self.url.ends_with(".tar.gz")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binaries::{OLDEST_CONTAINERD, OLDEST_RUNC, Programs, is_at_least};

    #[test]
    fn the_pinned_releases_form_a_supported_runtime() {
        let programs: Vec<_> = RELEASES.iter().flat_map(|release| release.programs).collect();
        for program in Programs::Runtime.required().iter().chain(Programs::Runtime.optional()) {
            assert!(programs.contains(&program), "{program}");
        }
        for release in RELEASES {
            let oldest = match release.name {
                "containerd" => OLDEST_CONTAINERD,
                "runc" => OLDEST_RUNC,
                _ => [0, 0],
            };
            assert!(is_at_least(release.version, oldest), "{release:?}");
            for architecture in [Architecture::Amd64, Architecture::Arm64] {
                let url = release.url(architecture);
                assert!(!url.contains('{') && url.contains(architecture.as_str()), "{url}");
                let digest = release.digest(architecture);
                assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
        assert_eq!(
            RELEASES[0].url(Architecture::Arm64),
            "https://github.com/containerd/containerd/releases/download/v2.3.4/containerd-static-2.3.4-linux-arm64.tar.gz"
        );
    }
}
