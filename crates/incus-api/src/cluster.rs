//! `/1.0/cluster`: members of a server cluster.

use serde::{Deserialize, Serialize};

use crate::Config;

/// `GET /1.0/cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Name of the member that answered; empty without a cluster.
    pub server_name: String,
    /// Whether the server is a member of a cluster.
    pub enabled: bool,
}

/// A cluster member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterMember {
    /// Name.
    pub server_name: String,
    /// Address of its API.
    pub url: String,
    /// Whether it holds a copy of the database.
    pub database: bool,
    /// `Online`, `Offline`, `Evacuated`, `Blocked`.
    pub status: String,
    /// Details of the status.
    pub message: String,
    /// Roles.
    #[serde(deserialize_with = "crate::null::default")]
    pub roles: Vec<String>,
    /// Failure domain.
    pub failure_domain: String,
    /// Description.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Cluster groups of the member.
    #[serde(deserialize_with = "crate::null::default")]
    pub groups: Vec<String>,
    /// Architecture.
    pub architecture: String,
}

impl ClusterMember {
    /// Returns whether the member accepts new instances.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.status == "Online"
    }
}
