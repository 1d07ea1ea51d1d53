//! Distributions and architectures of images.

use super::BuildError;
use crate::recipe::NEWER_SUITE_OF_DEBIAN_12;

/// The base distribution of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Debian 12; also boots on hosts with cgroup v1.
    Debian12,
    /// Debian 13; its systemd needs cgroup v2.
    Debian13,
    /// Ubuntu 24.04; also boots on hosts with cgroup v1, and has containerd 2.
    Ubuntu2404,
}

/// Source and identification of a distribution.
struct Distribution {
    /// `ID` of os-release, and the image property `os`.
    id: &'static str,
    name: &'static str,
    components: &'static str,
    /// Path on this machine and in the target.
    keyring: &'static str,
    /// The Debian and Ubuntu package with the keyring.
    keyring_package: &'static str,
    /// debootstrap's script for the family, if debootstrap does not know the suite.
    script: &'static str,
}

const DEBIAN: Distribution = Distribution {
    id: "debian",
    name: "Debian",
    components: "main",
    keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    keyring_package: "debian-archive-keyring",
    script: "sid",
};

const UBUNTU: Distribution = Distribution {
    id: "ubuntu",
    name: "Ubuntu",
    // The CNI plugins and catatonit are in universe.
    components: "main universe",
    keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    keyring_package: "ubuntu-keyring",
    script: "gutsy",
};

impl Base {
    /// All bases.
    pub const ALL: [Self; 3] = [Self::Debian12, Self::Debian13, Self::Ubuntu2404];

    fn distribution(self) -> &'static Distribution {
        match self {
            Self::Debian12 | Self::Debian13 => &DEBIAN,
            Self::Ubuntu2404 => &UBUNTU,
        }
    }

    /// Returns the base that boots under this machine's kernel: the newest Debian or, with cgroup
    /// v1, Debian 12, since systemd 256 and later do not support cgroup v1.
    pub fn of_this_machine() -> Self {
        super::host::fitting_base()
    }

    /// Returns whether containerd and runc of the distribution are maintained by their projects:
    /// Debian 12 has containerd 1.6 and runc 1.1, Debian 13 1.7 and 1.1, Ubuntu 24.04 (updates) 2.2
    /// and 1.3.
    pub fn has_current_runtime(self) -> bool {
        match self {
            Self::Debian12 | Self::Debian13 => false,
            Self::Ubuntu2404 => true,
        }
    }

    /// `debian` or `ubuntu`: the image property `os`.
    pub fn os(self) -> &'static str {
        self.distribution().id
    }

    /// `bookworm`, `trixie` or `noble`: the image property `release`.
    pub fn suite(self) -> &'static str {
        match self {
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
            Self::Ubuntu2404 => "noble",
        }
    }

    /// `12`, `13` or `24.04`: the image property `version`.
    pub fn version(self) -> &'static str {
        match self {
            Self::Debian12 => "12",
            Self::Debian13 => "13",
            Self::Ubuntu2404 => "24.04",
        }
    }

    /// Returns the display name, such as `Ubuntu 24.04`.
    pub fn describe(self) -> String {
        format!("{} {}", self.distribution().name, self.version())
    }

    /// Returns the suite of newer packages, if those of the base are too old.
    pub(super) fn newer_suite(self) -> Option<&'static str> {
        match self {
            Self::Debian12 => Some(NEWER_SUITE_OF_DEBIAN_12),
            Self::Debian13 | Self::Ubuntu2404 => None,
        }
    }

    pub(super) fn components(self) -> &'static str {
        self.distribution().components
    }

    pub(super) fn keyring(self) -> &'static str {
        self.distribution().keyring
    }

    pub(super) fn keyring_package(self) -> &'static str {
        self.distribution().keyring_package
    }

    pub(super) fn fallback_script(self) -> &'static str {
        self.distribution().script
    }

    /// Returns the public mirrors of the archive and of its security updates.
    pub(super) fn public_mirrors(self, architecture: Architecture) -> [&'static str; 2] {
        match (self, architecture) {
            (Self::Debian12 | Self::Debian13, _) => {
                ["http://deb.debian.org/debian", "http://deb.debian.org/debian-security"]
            }
            (Self::Ubuntu2404, Architecture::Amd64) => {
                ["http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"]
            }
            // Ubuntu hosts other architectures separately.
            (Self::Ubuntu2404, Architecture::Arm64) => ["http://ports.ubuntu.com/ubuntu-ports"; 2],
        }
    }

    /// Returns whether every mirror of the archive includes the security updates.
    pub(super) fn mirrors_have_security(self) -> bool {
        self.distribution().id == UBUNTU.id
    }
}

/// Architecture of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `x86_64` in the server's API.
    Amd64,
    /// `aarch64` in the server's API.
    Arm64,
}

impl Architecture {
    /// Returns the architecture of this machine.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnknownArchitecture`] on any other machine.
    pub fn of_this_machine() -> Result<Self, BuildError> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(BuildError::UnknownArchitecture { architecture: other.to_owned() }),
        }
    }

    /// `amd64` or `arm64`, as in Debian, Go and OCI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// `x86_64` or `aarch64`, as in servers and kernels.
    pub fn server_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_has_a_name_and_mirrors() {
        let table = [
            (Base::Debian12, "debian", "bookworm", "Debian 12", "http://deb.debian.org/debian"),
            (Base::Debian13, "debian", "trixie", "Debian 13", "http://deb.debian.org/debian"),
            (
                Base::Ubuntu2404,
                "ubuntu",
                "noble",
                "Ubuntu 24.04",
                "http://archive.ubuntu.com/ubuntu",
            ),
        ];
        assert_eq!(table.map(|row| row.0), Base::ALL);
        for (base, os, suite, name, mirror) in table {
            assert_eq!((base.os(), base.suite(), base.describe().as_str()), (os, suite, name));
            assert_eq!(base.public_mirrors(Architecture::Amd64)[0], mirror);
        }
        let ports = Base::Ubuntu2404.public_mirrors(Architecture::Arm64);
        assert_eq!(ports, ["http://ports.ubuntu.com/ubuntu-ports"; 2]);
    }
}
