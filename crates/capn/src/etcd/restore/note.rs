//! Progress of a restore, in a file in the state directory, so that the same command can continue.
//!
//! Not in the plane: otherwise a user who can write to the cluster's namespace could choose which
//! local file is sent into a node.

use camino::Utf8PathBuf;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::anew::Anew;
use crate::error::{CommandError, Doing as _};
use crate::etcd::{Folder, record::LONGEST};
use crate::state::write_private;
use crate::text_file;

/// Name of the file.
const NAME: &str = "restore.json";

/// Phase of the restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    /// A new first control plane machine is being created.
    First,
    /// The data is being restored in the instance.
    Data,
    /// The API server runs with the data; nodes and machines follow.
    Machines,
}

/// A restore in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    /// Suffix of the names of moved files.
    pub(super) id: String,
    pub(super) uid: String,
    pub(super) snapshot: Utf8PathBuf,
    pub(super) sha256: String,
    pub(super) machine: String,
    pub(super) instance: String,
    pub(super) others: Vec<String>,
    /// Whether the cluster was paused before.
    pub(super) was_paused: bool,
    pub(super) phase: Phase,
    /// When the control plane was started with the data, by the clock of its node.
    #[serde(default)]
    pub(super) started: Option<Timestamp>,
    /// Input of a new first machine, if no instance is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) anew: Option<Anew>,
}

impl Note {
    fn path(folder: &Folder) -> Utf8PathBuf {
        folder.path().join(NAME)
    }

    /// Reads the restore in progress of a cluster, if there is one.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read or parsed.
    pub(super) fn read(folder: &Folder, uid: &str) -> Result<Option<Self>, CommandError> {
        let path = Self::path(folder);
        let doing = || format!("cannot read {path}");
        let text = match text_file::read_regular(&path, LONGEST) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.doing(doing())?,
        };
        let note: Self = serde_json::from_str(&text).doing(doing())?;
        // The cluster of the note is gone.
        Ok(Some(note).filter(|note| note.uid == uid))
    }

    /// Writes the note.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written.
    pub(super) fn write(&self, folder: &Folder) -> Result<(), CommandError> {
        write_private(&Self::path(folder), &crate::output::json(self)?)
    }

    /// Deletes the note.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be deleted.
    pub(super) fn delete(folder: &Folder) -> Result<(), CommandError> {
        let path = Self::path(folder);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).doing(format!("cannot delete {path}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateDir;

    #[test]
    fn a_note_is_of_one_cluster_and_stays_until_the_end() {
        let held = tempfile::tempdir().unwrap();
        let state = StateDir::at(held.path().to_str().unwrap());
        let folder = Folder::of(&state, "default", "demo").unwrap();
        assert_eq!(Note::read(&folder, "u").unwrap(), None);
        let note = Note {
            id: "1".into(),
            uid: "u".into(),
            snapshot: "/a.db".into(),
            sha256: "ab".into(),
            machine: "m".into(),
            instance: "i".into(),
            others: vec!["o".into()],
            was_paused: false,
            phase: Phase::Data,
            started: Some(Timestamp::UNIX_EPOCH),
            anew: Some(Anew { lost: vec!["l".into()], replicas: Some(3), ..Anew::default() }),
        };
        note.write(&folder).unwrap();
        assert_eq!(Note::read(&folder, "u").unwrap(), Some(note));
        assert_eq!(Note::read(&folder, "another").unwrap(), None);
        assert_eq!(folder.list().unwrap().len(), 0);
        // As releases wrote it that could not make a first machine.
        let earlier = r#"{"id":"1","uid":"u","snapshot":"/a.db","sha256":"ab","machine":"m",
            "instance":"i","others":[],"wasPaused":false,"phase":"data"}"#;
        std::fs::write(folder.path().join(NAME), earlier).unwrap();
        assert_eq!(Note::read(&folder, "u").unwrap().unwrap().anew, None);
        Note::delete(&folder).unwrap();
        Note::delete(&folder).unwrap();
        assert_eq!(Note::read(&folder, "u").unwrap(), None);
    }
}
