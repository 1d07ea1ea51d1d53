//! Results of checks, and how to fix them.

use serde::Serialize;

/// Severity of a finding for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong.
    Ok,
    /// A cluster can be created, but something is weaker or slower, or will fail later.
    Warning,
    /// A cluster cannot be created or does not work.
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

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check. Stable between releases.
    pub id: &'static str,
    /// Severity.
    pub severity: Severity,
    /// What was found, as one sentence without a full stop.
    pub found: String,
    /// Impact on a cluster; empty if nothing is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub means: String,
    /// Commands to run, or steps if no command does it. Several entries are alternatives.
    #[serde(rename = "mend", skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<String>,
    /// The change that `--fix` makes, if it is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Finding {
    /// Creates a finding without a problem.
    pub(crate) fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Self {
            id,
            severity: Severity::Ok,
            found: found.into(),
            means: String::new(),
            remedies: Vec::new(),
            fix: None,
        }
    }

    /// Creates a finding about something weaker, slower or likely to fail later.
    pub(crate) fn warning(
        id: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, means: means.into(), ..Self::ok(id, found) }
    }

    /// Creates a finding that prevents a cluster from being created or from working.
    pub(crate) fn problem(
        id: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Problem, means: means.into(), ..Self::ok(id, found) }
    }

    /// Adds a remedy.
    #[must_use]
    pub(crate) fn remedy(mut self, remedies: impl Into<String>) -> Self {
        self.remedies.push(remedies.into());
        self
    }

    /// Sets the fix that `--fix` applies.
    #[must_use]
    pub(crate) fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// Returns whether the finding prevents a cluster from being created or from working.
    pub fn is_problem(&self) -> bool {
        self.severity == Severity::Problem
    }
}

/// A safe change: it removes nothing and can be reverted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fix {
    /// Set a kernel setting, now and after a restart.
    SetSysctl {
        /// Name, with dots.
        key: String,
        /// Value.
        value: String,
    },
    /// Remount lxcfs read-only, until the next restart. lxcfs only needs to be read.
    LxcfsReadOnly,
    /// Create a bridge with NAT and an unused subnet.
    CreateBridge {
        /// Name of the network.
        name: String,
    },
    /// Add a NIC to a profile.
    AddNic {
        /// Name of the profile.
        profile: String,
        /// Name of the network.
        network: String,
    },
    /// Create a `dir` storage pool, when there is no pool at all.
    CreatePool {
        /// Name of the pool.
        name: String,
    },
    /// Add a root disk to a profile.
    AddRootDisk {
        /// Name of the profile.
        profile: String,
        /// Name of the pool.
        pool: String,
    },
}

impl std::fmt::Display for Fix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SetSysctl { key, value } => write!(f, "set {key} to {value}"),
            Self::LxcfsReadOnly => f.write_str("remount lxcfs read-only"),
            Self::CreateBridge { name } => write!(f, "create the bridge `{name}` with NAT"),
            Self::AddNic { profile, network } => {
                write!(f, "add a NIC on `{network}` to profile `{profile}`")
            }
            Self::CreatePool { name } => write!(f, "create the storage pool `{name}`"),
            Self::AddRootDisk { profile, pool } => {
                write!(f, "add a root disk on pool `{pool}` to profile `{profile}`")
            }
        }
    }
}
