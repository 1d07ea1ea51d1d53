//! What a check found, and what to do about it.

use serde::Serialize;

/// How bad it is for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// A cluster can be made; something is weaker, slower or will fail later.
    Warning,
    /// A cluster cannot be made, or does not work.
    Problem,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check, stable between releases.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, in one sentence without a full stop.
    pub found: String,
    /// What that means for a cluster; empty where nothing is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub means: String,
    /// What to type, or what to do where no command does it; several lines are alternatives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
    /// What `--fix` does about it, if that is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Finding {
    /// Nothing is wrong.
    pub(crate) fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Self {
            id,
            severity: Severity::Ok,
            found: found.into(),
            means: String::new(),
            mend: Vec::new(),
            fix: None,
        }
    }

    /// Something is weaker, slower or fails later.
    pub(crate) fn warning(
        id: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, means: means.into(), ..Self::ok(id, found) }
    }

    /// A cluster cannot be made or does not work.
    pub(crate) fn problem(
        id: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Problem, means: means.into(), ..Self::ok(id, found) }
    }

    /// Adds what mends it.
    #[must_use]
    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend.push(mend.into());
        self
    }

    /// Adds what `--fix` does.
    #[must_use]
    pub(crate) fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// Whether a cluster cannot be made because of it.
    pub fn is_problem(&self) -> bool {
        self.severity == Severity::Problem
    }
}

/// A change that is safe: it takes nothing away, and can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fix {
    /// Set a kernel setting, now and after restarts.
    SetSysctl {
        /// Name, with dots.
        key: String,
        /// Value.
        value: String,
    },
    /// Make the mount of lxcfs read-only, now; lxcfs only has things to read.
    LxcfsReadOnly,
    /// Make a bridge with NAT that has the next free subnet.
    CreateBridge {
        /// Name of the network.
        name: String,
    },
    /// Give a profile a network card on a network.
    AddNic {
        /// The profile.
        profile: String,
        /// The network.
        network: String,
    },
    /// Make a storage pool of folders, where there is no pool at all.
    CreatePool {
        /// Name of the pool.
        name: String,
    },
    /// Give a profile a root disk on a pool.
    AddRootDisk {
        /// The profile.
        profile: String,
        /// The pool.
        pool: String,
    },
}

impl std::fmt::Display for Fix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SetSysctl { key, value } => write!(f, "set {key} to {value}"),
            Self::LxcfsReadOnly => f.write_str("make the mount of lxcfs read-only"),
            Self::CreateBridge { name } => write!(f, "make the bridge `{name}` with NAT"),
            Self::AddNic { profile, network } => {
                write!(f, "give profile `{profile}` a network card on `{network}`")
            }
            Self::CreatePool { name } => write!(f, "make the storage pool `{name}`"),
            Self::AddRootDisk { profile, pool } => {
                write!(f, "give profile `{profile}` a root disk on pool `{pool}`")
            }
        }
    }
}
