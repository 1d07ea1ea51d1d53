//! How far a restore is, in a file of the state folder, so that the same command continues.
//!
//! Not in the plane: who may write to the namespace of the cluster would tell the command which file of
//! this machine to send into a node.

use camino::Utf8PathBuf;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{CommandError, Doing as _};
use crate::etcd::{Folder, record::LONGEST};
use crate::state::write_private;

/// Name of the file.
const NAME: &str = "restore.json";

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    /// The data goes into the instance.
    Data,
    /// The API server answers from it: nodes and machines follow.
    Machines,
}

/// A restore that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    /// Names what is moved aside.
    pub(super) id: String,
    pub(super) uid: String,
    pub(super) snapshot: Utf8PathBuf,
    pub(super) sha256: String,
    pub(super) machine: String,
    pub(super) instance: String,
    pub(super) others: Vec<String>,
    /// The cluster was paused before.
    pub(super) was_paused: bool,
    pub(super) phase: Phase,
    /// When the control plane was started from the data, by the clock of its node.
    #[serde(default)]
    pub(super) started: Option<Timestamp>,
}

impl Note {
    fn path(folder: &Folder) -> Utf8PathBuf {
        folder.path().join(NAME)
    }

    /// The restore of a cluster that has begun and not ended.
    ///
    /// # Errors
    ///
    /// When it cannot be read or understood.
    pub(super) fn read(folder: &Folder, uid: &str) -> Result<Option<Self>, CommandError> {
        let path = Self::path(folder);
        let doing = || format!("cannot read {path}");
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Ok(found) if found.len() <= LONGEST => {}
            Ok(_) => return Err(CommandError::new(format!("{path} is too long"))),
            Err(error) => return Err(error).doing(doing()),
        }
        let text = std::fs::read(&path).doing(doing())?;
        let note: Self = serde_json::from_slice(&text).doing(doing())?;
        // Of a cluster that is gone.
        Ok(Some(note).filter(|note| note.uid == uid))
    }

    /// Writes it down.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn write(&self, folder: &Folder) -> Result<(), CommandError> {
        write_private(&Self::path(folder), &crate::output::json(self)?)
    }

    /// It has ended.
    ///
    /// # Errors
    ///
    /// When the file cannot be deleted.
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
        };
        note.write(&folder).unwrap();
        assert_eq!(Note::read(&folder, "u").unwrap(), Some(note));
        assert_eq!(Note::read(&folder, "another").unwrap(), None);
        assert_eq!(folder.list().unwrap().len(), 0);
        Note::delete(&folder).unwrap();
        Note::delete(&folder).unwrap();
        assert_eq!(Note::read(&folder, "u").unwrap(), None);
    }
}
