//! The state folder: where this user's embedded plane lives.

use std::os::unix::fs::DirBuilderExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::Context;
use crate::error::{CommandError, Doing as _};

/// A state folder, which may not exist yet.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: Utf8PathBuf,
}

impl StateDir {
    /// The folder that `--state-dir` or the environment names.
    ///
    /// # Errors
    ///
    /// When neither names one, what it names is something else than a folder, or the current folder that a relative
    /// path needs is gone.
    pub fn of(context: &Context) -> Result<Self, CommandError> {
        let path = match &context.global.state_dir {
            Some(path) => path.clone(),
            None => context.environment.state_dir().ok_or_else(|| {
                CommandError::new(
                    "there is no place for state: neither HOME nor XDG_STATE_HOME is set",
                )
                .hint("name a folder: `--state-dir DIR`")
            })?,
        };
        // Shown to the user and written into commands to type, so it must hold from anywhere.
        let path = camino::absolute_utf8(&path)
            .doing(format!("cannot find out where the state folder {path} is"))?;
        // One that is not there yet is made when something is written.
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_dir()) {
            return Err(CommandError::usage(format!("the state folder {path} is not a folder"))
                .hint("name a folder: `--state-dir DIR`; one that does not exist is made"));
        }
        capn_image::own::check(&path).map_err(|error| {
            let hint = error.hint();
            CommandError::new(format!("{error}; a state folder holds keys")).hint(hint)
        })?;
        Ok(Self { path })
    }

    /// A state folder at this path.
    pub fn at(path: impl Into<Utf8PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The store.
    pub fn database(&self) -> Utf8PathBuf {
        self.path.join("plane.db")
    }

    /// Certificates of the served plane.
    pub fn pki(&self) -> Utf8PathBuf {
        self.path.join("pki")
    }

    /// How to reach the plane while it is served.
    pub fn plane_kubeconfig(&self) -> Utf8PathBuf {
        self.path.join("plane.kubeconfig")
    }

    /// How to reach a workload cluster.
    pub fn cluster_kubeconfig(&self, cluster: &str) -> Utf8PathBuf {
        self.path.join("clusters").join(format!("{cluster}.kubeconfig"))
    }

    /// Snapshots of the etcd of workload clusters.
    pub fn etcd_snapshots(&self) -> Utf8PathBuf {
        self.path.join("etcd-snapshots")
    }

    /// Identities whose keys were made here.
    pub fn identities(&self) -> Utf8PathBuf {
        self.path.join("identities")
    }

    /// Makes the folder, for this user only.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), CommandError> {
        make_private_dir(&self.path)
    }
}

/// Makes a folder that only this user can look into; one that is there stays as it is.
///
/// # Errors
///
/// When it cannot be made.
pub(crate) fn make_private_dir(path: &Utf8Path) -> Result<(), CommandError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing(format!("cannot make the folder {path}"))
}

/// Writes a file that only this user can read. A reader sees the old content or the new one.
///
/// # Errors
///
/// When the folder or the file cannot be written; an existing file is then as it was.
pub fn write_private(path: &Utf8Path, content: &str) -> Result<(), CommandError> {
    use std::io::Write as _;

    let doing = || format!("cannot write {path}");
    if let Some(folder) = path.parent().filter(|folder| !folder.as_str().is_empty()) {
        make_private_dir(folder)?;
    }
    if capn_image::own::is_foreign_link(path) {
        return Err(CommandError::new(format!("{path} is a link that another user made"))
            .hint("look where it leads, and name another file"));
    }
    // A kubeconfig is often a link into a folder of its own; the link must stay one.
    let target = match path.canonicalize_utf8() {
        Ok(target) => target,
        Err(_) => path.to_owned(),
    };
    let folder = target.parent().filter(|folder| !folder.as_str().is_empty());
    let written = (|| {
        // Its name cannot be guessed, it is new, and only this user can read it.
        let mut file = tempfile::Builder::new()
            .prefix(".capn-")
            .tempfile_in(folder.unwrap_or(Utf8Path::new(".")))?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        std::io::Result::Ok(())
    })();
    written.doing(doing())
}

/// Writes a file that is not there yet and that only this user can read: the whole of it, or none.
///
/// # Errors
///
/// When there is something of that name, or it cannot be written.
pub fn write_new_private(path: &Utf8Path, content: &[u8]) -> Result<(), CommandError> {
    use std::io::Write as _;

    let folder = path.parent().filter(|folder| !folder.as_str().is_empty());
    let written = (|| {
        let mut file = tempfile::Builder::new()
            .prefix(".capn-")
            .tempfile_in(folder.unwrap_or(Utf8Path::new(".")))?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        std::io::Result::Ok(())
    })();
    written.doing(format!("cannot write {path}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_not_written_through_a_link_of_another_user() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let (real, link) = (folder.join("real"), folder.join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        // Only root can give a link away.
        if std::os::unix::fs::lchown(&link, Some(12345), None).is_ok() {
            let error = write_private(&link, "new").unwrap_err();
            assert!(error.to_string().contains("a link that another user made"), "{error}");
            assert_eq!(std::fs::read_to_string(&real).unwrap(), "old");
        }
    }

    #[test]
    fn a_new_private_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(folder.path()).unwrap().join("new");
        write_new_private(&file, b"first").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_new_private(&file, b"second").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_replaces_the_target_of_a_link_and_keeps_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let (real, link) = (folder.join("real"), folder.join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_private(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
