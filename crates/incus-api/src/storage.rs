//! `/1.0/storage-pools`.

use serde::{Deserialize, Serialize};

use crate::Config;

/// A storage pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoragePool {
    /// Name.
    pub name: String,
    /// `dir`, `btrfs`, `zfs`, `lvm`, …
    pub driver: String,
    /// Description.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// `Created`, `Pending`, `Errored`, `Unavailable`.
    pub status: String,
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Resource paths that use it.
    #[serde(deserialize_with = "crate::null::default")]
    pub used_by: Vec<String>,
    /// Cluster members that have it.
    #[serde(deserialize_with = "crate::null::default")]
    pub locations: Vec<String>,
}

/// `PUT /1.0/storage-pools/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoragePoolPut {
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Description.
    pub description: String,
}

/// `POST /1.0/storage-pools`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoragePoolsPost {
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// The other fields.
    #[serde(flatten)]
    pub put: StoragePoolPut,
}

/// `GET /1.0/storage-pools/NAME/resources`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoragePoolResources {
    /// Space, in bytes.
    pub space: Usage,
    /// Inodes; zero if the driver does not count them.
    pub inodes: Usage,
}

impl StoragePoolResources {
    /// Returns the free space, in bytes.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.space.total.saturating_sub(self.space.used)
    }
}

/// Used and total amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Used amount.
    pub used: u64,
    /// Total amount.
    pub total: u64,
}
