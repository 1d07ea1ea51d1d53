//! The distributions an image can be made from, and the architectures it can be for.

use super::BuildError;
use crate::recipe::NEWER_SUITE_OF_DEBIAN_12;

/// The distribution under the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Debian 12; boots also on hosts with cgroup v1.
    Debian12,
    /// Debian 13; its systemd needs cgroup v2.
    Debian13,
    /// Ubuntu 24.04; boots also on hosts with cgroup v1, and has containerd 2.
    Ubuntu2404,
}

/// Where a distribution comes from, and how it is recognized.
struct Distribution {
    /// `ID` of os-release, and the image property `os`.
    id: &'static str,
    name: &'static str,
    components: &'static str,
    /// Path on this machine and in the target alike.
    keyring: &'static str,
    /// The Debian and Ubuntu package with the keyring.
    keyring_package: &'static str,
    /// debootstrap's own script for the family, for one that does not know the suite yet.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Debian12, Self::Debian13, Self::Ubuntu2404];

    fn distribution(self) -> &'static Distribution {
        match self {
            Self::Debian12 | Self::Debian13 => &DEBIAN,
            Self::Ubuntu2404 => &UBUNTU,
        }
    }

    /// The one that boots under this machine's kernel: the newest Debian, or Debian 12 with cgroup
    /// v1, which systemd 256 and later refuse.
    pub fn of_this_machine() -> Self {
        super::host::fitting_base()
    }

    /// Whether the distribution's own containerd and runc are ones that their projects still keep:
    /// Debian 12 has containerd 1.6 and runc 1.1, Debian 13 1.7 and 1.1, Ubuntu 24.04 (updates)
    /// 2.2 and 1.3.
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

    /// For people: `Ubuntu 24.04`.
    pub fn describe(self) -> String {
        format!("{} {}", self.distribution().name, self.version())
    }

    /// The suite that newer packages come from, where the base's own are too old.
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

    /// The public mirrors: of the archive, and of its security updates.
    pub(super) fn public_mirrors(self, architecture: Architecture) -> [&'static str; 2] {
        match (self, architecture) {
            (Self::Debian12 | Self::Debian13, _) => {
                ["http://deb.debian.org/debian", "http://deb.debian.org/debian-security"]
            }
            (Self::Ubuntu2404, Architecture::Amd64) => {
                ["http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"]
            }
            // Ubuntu keeps the other architectures apart.
            (Self::Ubuntu2404, Architecture::Arm64) => ["http://ports.ubuntu.com/ubuntu-ports"; 2],
        }
    }

    /// Whether every mirror of the archive has its security updates too.
    pub(super) fn mirrors_have_security(self) -> bool {
        self.distribution().id == UBUNTU.id
    }
}

/// What machines an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `x86_64` in the servers' word.
    Amd64,
    /// `aarch64` in the servers' word.
    Arm64,
}

impl Architecture {
    /// This machine's.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnknownArchitecture`] on any other kind of machine.
    pub fn of_this_machine() -> Result<Self, BuildError> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(BuildError::UnknownArchitecture { architecture: other.to_owned() }),
        }
    }

    /// `amd64` or `arm64`, as Debian, Go and OCI say.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// `x86_64` or `aarch64`, as servers and kernels say.
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
    fn every_base_names_itself_and_where_it_comes_from() {
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
