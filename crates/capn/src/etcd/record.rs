//! What is known of a snapshot, in a small file beside it.

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest record that is read.
pub(super) const LONGEST: u64 = 64 << 10;

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Somebody asked for it.
    Hand,
    /// `capn serve` takes one every day.
    Schedule,
    /// `capn upgrade` takes one before the first machine changes.
    Upgrade,
    /// A reason of a later release.
    #[serde(other)]
    Other,
}

impl Reason {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Schedule => "schedule",
            Self::Upgrade => "upgrade",
            Self::Other => "other",
        }
    }
}

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Name of the cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID: another cluster of the name has other keys.
    pub uid: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// Why.
    pub reason: Reason,
    /// Length of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Revision of etcd just before: what is in the snapshot is not older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Version of etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// Version of Kubernetes that the control plane asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Node of the member that it is of.
    #[serde(default)]
    pub node: String,
}

impl Record {
    /// Where the record of a snapshot is.
    pub fn path(snapshot: &Utf8Path) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{snapshot}.json"))
    }

    /// Reads the record of a snapshot; `None` where there is none that is understood.
    pub fn read(snapshot: &Utf8Path) -> Option<Self> {
        let path = Self::path(snapshot);
        let length = std::fs::metadata(&path).ok()?.len();
        if length > LONGEST {
            return None;
        }
        serde_json::from_slice(&std::fs::read(&path).ok()?).ok()
    }
}
