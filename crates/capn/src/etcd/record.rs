//! Metadata of a snapshot, in a small file next to it.

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::text_file;

/// Maximum size of a record in bytes.
pub(super) const LONGEST: u64 = 64 << 10;

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Requested by a user.
    Hand,
    /// Taken daily by `capn serve`.
    Schedule,
    /// Taken by `capn upgrade` before the first machine changes.
    Upgrade,
    /// A reason from a later release.
    #[serde(other)]
    Other,
}

impl Reason {
    /// Returns the display name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Schedule => "schedule",
            Self::Upgrade => "upgrade",
            Self::Other => "other",
        }
    }
}

/// Metadata of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Name of the cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// UID of the Cluster: another cluster with the same name has other keys.
    pub uid: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// Why it was taken.
    pub reason: Reason,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// etcd revision just before the snapshot; the snapshot is at least as new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Version of etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// Kubernetes version of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Node of the member it was taken from.
    #[serde(default)]
    pub node: String,
}

impl Record {
    /// Returns the path of a snapshot's record.
    pub fn path(snapshot: &Utf8Path) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{snapshot}.json"))
    }

    /// Reads the record of a snapshot; `None` if it is missing or invalid.
    pub fn read(snapshot: &Utf8Path) -> Option<Self> {
        serde_json::from_str(&text_file::read_regular(&Self::path(snapshot), LONGEST).ok()?).ok()
    }
}
