//! Errors of image builds.

use camino::Utf8PathBuf;
use thiserror::Error;

/// Error of an image build.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The build creates file systems with files of root.
    #[error("building an image needs root")]
    NotRoot,
    /// Required tools are not installed.
    #[error("building an image needs {}, which are not installed on this machine", tools.join(" and "))]
    MissingTools {
        /// Names of the programs.
        tools: Vec<String>,
        /// Debian and Ubuntu packages that have them.
        packages: Vec<String>,
    },
    /// Images cannot be built on this machine.
    #[error("images cannot be built on {architecture} machines, only on amd64 and arm64")]
    UnknownArchitecture {
        /// Architecture of the machine.
        architecture: String,
    },
    /// The build runs programs of the image, which must match the machine.
    #[error("an image for {wanted} cannot be built on this machine, which is {here}")]
    ForeignArchitecture {
        /// Requested architecture.
        wanted: &'static str,
        /// Architecture of the machine.
        here: &'static str,
    },
    /// The cache directory is not owned by this user.
    #[error(transparent)]
    NotOwned(#[from] crate::ownership::NotOwned),
    /// Another build uses the cache directory for an hour.
    #[error("another image build has been running in {path} for an hour")]
    Busy {
        /// The cache directory.
        path: Utf8PathBuf,
    },
    /// A file or directory of the build could not be used.
    #[error("cannot {act} {path}")]
    File {
        /// Attempted action, as a verb.
        act: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("no space left on the disk of {path}")]
    DiskFull {
        /// The cache directory.
        path: Utf8PathBuf,
    },
    /// A tool could not be started.
    #[error("cannot run {program}")]
    Run {
        /// Name of the program.
        program: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A tool failed.
    #[error("{stage} failed ({status}): {tail}")]
    Step {
        /// Stage of the build.
        stage: &'static str,
        /// Exit status as text.
        status: String,
        /// Last lines of its output.
        tail: String,
    },
    /// A file of a container image cannot be loaded with the other files of the image.
    #[error("cannot load {file} of container image {image}: {problem}")]
    DoesNotLoad {
        /// Name of the image.
        image: String,
        /// Path in the image.
        file: String,
        /// Error of the loader, with the name of the missing library.
        problem: String,
    },
    /// The directory of Kubernetes binaries cannot be used.
    #[error("cannot use the Kubernetes binaries")]
    Binaries(#[from] crate::binaries::BinariesError),
    /// The alias belongs to an image that capn did not build.
    #[error("the alias {alias} exists with image {fingerprint}, which capn did not build")]
    AliasTaken {
        /// The alias.
        alias: String,
        /// Prefix of the fingerprint.
        fingerprint: String,
    },
    /// The image failed its validation and did not get the alias.
    #[error("the image failed its validation: {}", failures.join("; "))]
    Invalid {
        /// Instance, check and result of each failed check.
        failures: Vec<String>,
    },
    /// A request to the server failed.
    #[error("cannot {act} on the server")]
    Server {
        /// Attempted action, as a verb phrase.
        act: &'static str,
        /// Cause.
        #[source]
        source: incus_client::Error,
    },
}

impl BuildError {
    /// Returns what the user can do about the error, as a sentence or a command.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOwned(error) => Some(error.hint()),
            Self::NotRoot => Some("run the same command with sudo".to_owned()),
            Self::MissingTools { packages, .. } => {
                Some(format!("apt-get install -y {}", packages.join(" ")))
            }
            Self::Busy { .. } => {
                Some("wait for it to finish, or use another cache directory".to_owned())
            }
            Self::DiskFull { path } => {
                Some(format!("free space, or delete {path}: its content can be built again"))
            }
            Self::AliasTaken { alias, .. } => Some(format!(
                "choose another alias with --alias, or free it: incus image alias delete {alias}"
            )),
            Self::Binaries(error) => error.hint(),
            Self::DoesNotLoad { .. } => Some(
                "if the file comes from your directory, use a static binary or one built for this \
                 base (--base); if it belongs to the base, rebuild with --rebuild"
                    .to_owned(),
            ),
            Self::ForeignArchitecture { wanted, .. } => {
                Some(format!("run the same command on an {wanted} machine"))
            }
            Self::Step { .. } => Some(
                "fix the cause and run the same command again: completed stages are not repeated"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
