//! How a build fails.

use camino::Utf8PathBuf;
use thiserror::Error;

/// The act that failed, and on what.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Building makes file systems with root's files in them.
    #[error("building an image needs root")]
    NotRoot,
    /// Tools that are not installed.
    #[error("building an image needs {}, not found on this machine", tools.join(" and "))]
    MissingTools {
        /// Names of the programs.
        tools: Vec<String>,
        /// Debian and Ubuntu packages that have them.
        packages: Vec<String>,
    },
    /// A machine on which nothing can be built.
    #[error("images cannot be built on {architecture} machines, only on amd64 and arm64")]
    UnknownArchitecture {
        /// The machine's.
        architecture: String,
    },
    /// The recipe's programs run on the machine that builds.
    #[error("an image for {wanted} cannot be built on this machine, which is {here}")]
    ForeignArchitecture {
        /// What was asked for.
        wanted: &'static str,
        /// The machine's.
        here: &'static str,
    },
    /// The cache folder is not this user's own.
    #[error(transparent)]
    NotOwn(#[from] crate::own::NotOwn),
    /// Another build uses the cache folder.
    #[error("another image build is running in {path}")]
    Busy {
        /// The cache folder.
        path: Utf8PathBuf,
    },
    /// A file or folder of the build.
    #[error("cannot {act} {path}")]
    File {
        /// What was tried, a verb.
        act: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("no space left on the disk of {path}")]
    DiskFull {
        /// The cache folder.
        path: Utf8PathBuf,
    },
    /// A tool could not be started.
    #[error("cannot run {program}")]
    Run {
        /// Which.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A tool failed.
    #[error("{stage} failed ({status}): {tail}")]
    Step {
        /// What was being made.
        stage: &'static str,
        /// Exit status in words.
        status: String,
        /// The last lines it printed.
        tail: String,
    },
    /// A file of a container image that does not load with what else is in the image.
    #[error("{file} of the container image {image} does not load: {problem}")]
    DoesNotLoad {
        /// Name of the image.
        image: String,
        /// Path in it.
        file: String,
        /// What the loader says; names the library that is missing.
        problem: String,
    },
    /// The folder of Kubernetes binaries.
    #[error("cannot use the Kubernetes binaries")]
    Binaries(#[from] crate::binaries::BinariesError),
    /// The alias belongs to an image that capn did not build.
    #[error("the alias {alias} exists with image {fingerprint}, which capn did not build")]
    AliasTaken {
        /// The alias.
        alias: String,
        /// Beginning of the fingerprint.
        fingerprint: String,
    },
    /// The image does not do what it should; it has not got the alias.
    #[error("the image does not hold: {}", failures.join("; "))]
    Invalid {
        /// Instance, check and what was seen instead, for each check that failed.
        failures: Vec<String>,
    },
    /// The server.
    #[error("cannot {act} on the server")]
    Server {
        /// What was tried, a verb phrase.
        act: &'static str,
        /// Why not.
        #[source]
        source: incus_client::Error,
    },
}

impl BuildError {
    /// What the user can do, as one sentence or a command.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOwn(error) => Some(error.hint()),
            Self::NotRoot => Some("run the same command with sudo".to_owned()),
            Self::MissingTools { packages, .. } => {
                Some(format!("apt-get install -y {}", packages.join(" ")))
            }
            Self::Busy { .. } => {
                Some("wait for it to end, or give another cache folder".to_owned())
            }
            Self::DiskFull { path } => {
                Some(format!("make room, or delete {path}: it holds only what can be built again"))
            }
            Self::AliasTaken { alias, .. } => Some(format!(
                "choose another alias with --alias, or free it: incus image alias delete {alias}"
            )),
            Self::Binaries(error) => error.hint(),
            Self::DoesNotLoad { .. } => Some(
                "if the file is from a folder of yours, put a static program there, or one made \
                 for this base (--base); if it is the base's own, build again with --rebuild"
                    .to_owned(),
            ),
            Self::ForeignArchitecture { wanted, .. } => {
                Some(format!("run the same command on an {wanted} machine"))
            }
            Self::Step { .. } => Some(
                "mend the cause and run the same command again: finished stages are not repeated"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
