//! The state directory of the embedded plane.

use std::os::unix::fs::DirBuilderExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::ui::Ui;

/// A state directory. It may not exist yet.
#[derive(Clone)]
pub struct StateDir {
    path: Utf8PathBuf,
    /// Receives a message while this command waits for another one. Without it, commands do not
    /// wait long.
    ui: Option<Ui>,
}

impl std::fmt::Debug for StateDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateDir").field("path", &self.path).finish_non_exhaustive()
    }
}

impl StateDir {
    /// Returns the state directory from `--state-dir` or the environment.
    ///
    /// # Errors
    ///
    /// Returns an error if neither is set, if the path is not a directory, or if a relative path
    /// cannot be resolved because the current directory is gone.
    pub fn of(context: &Context) -> Result<Self, CommandError> {
        let path = match &context.global.state_dir {
            Some(path) => path.clone(),
            None => context.environment.state_dir().ok_or_else(|| {
                CommandError::new("no state directory: neither HOME nor XDG_STATE_HOME is set")
                    .hint("set a directory: `--state-dir DIR`")
            })?,
        };
        // The path is shown to the user and used in suggested commands, so it must be absolute.
        let path = camino::absolute_utf8(&path)
            .doing(format!("cannot resolve the state directory {path}"))?;
        // A missing directory is created on the first write.
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_dir()) {
            return Err(CommandError::usage(format!(
                "the state directory {path} is not a directory"
            ))
            .hint("set a directory: `--state-dir DIR`; capn creates it if it does not exist"));
        }
        capn_image::ownership::check(&path).map_err(|error| {
            let hint = error.hint();
            CommandError::new(format!("{error}; a state directory contains private keys"))
                .hint(hint)
        })?;
        Ok(Self { path, ui: Some(context.ui.clone()) })
    }

    /// Returns the state directory at this path.
    pub fn at(path: impl Into<Utf8PathBuf>) -> Self {
        Self { path: path.into(), ui: None }
    }

    /// Returns the same directory, with a [`Ui`] that reports waiting for another command.
    #[cfg(test)]
    pub(crate) fn telling(self, ui: Ui) -> Self {
        Self { ui: Some(ui), ..self }
    }

    /// Where waiting for another command is reported.
    pub(crate) fn ui(&self) -> Option<&Ui> {
        self.ui.as_ref()
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Returns the path of the plane's database.
    pub fn database(&self) -> Utf8PathBuf {
        self.path.join("plane.db")
    }

    /// Certificates of the plane's API server.
    pub fn pki(&self) -> Utf8PathBuf {
        self.path.join("pki")
    }

    /// Returns the path of the plane's kubeconfig, which exists while the plane is served.
    pub fn plane_kubeconfig(&self) -> Utf8PathBuf {
        self.path.join("plane.kubeconfig")
    }

    /// Returns the path of the kubeconfig of a workload cluster. Clusters of several namespaces may
    /// have the same name.
    pub fn cluster_kubeconfig(&self, namespace: &str, cluster: &str) -> Utf8PathBuf {
        let clusters = self.path.join("clusters");
        let folder = if namespace == "default" { clusters } else { clusters.join(namespace) };
        folder.join(format!("{cluster}.kubeconfig"))
    }

    /// Returns the path of the record of entries that were merged into the user's kubeconfig files
    /// for a workload cluster.
    pub fn merged_kubeconfigs(&self, namespace: &str, cluster: &str) -> Utf8PathBuf {
        self.path.join("merged-kubeconfigs").join(namespace).join(format!("{cluster}.json"))
    }

    /// Returns the directory of etcd snapshots of workload clusters.
    pub fn etcd_snapshots(&self) -> Utf8PathBuf {
        self.path.join("etcd-snapshots")
    }

    /// Returns the directory of stored identities.
    pub fn identities(&self) -> Utf8PathBuf {
        self.path.join("identities")
    }

    /// Creates the directory, accessible only to this user.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be created.
    pub fn make(&self) -> Result<(), CommandError> {
        make_private_dir(&self.path)
    }
}

/// Checks that object names from the command line are safe file names.
///
/// # Errors
///
/// Returns a usage error that names the first invalid one.
pub(crate) fn file_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), CommandError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let is_name =
        |name: &str| !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain);
    match names.into_iter().find(|name| !is_name(name)) {
        None => Ok(()),
        Some(name) => Err(CommandError::usage(format!("`{name}` is not a valid cluster name"))),
    }
}

/// Creates a directory that only this user can access. An existing directory is not changed.
///
/// # Errors
///
/// Returns an error if it cannot be created.
pub(crate) fn make_private_dir(path: &Utf8Path) -> Result<(), CommandError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing(format!("cannot create directory {path}"))
}

/// Writes a file that only this user can read. Readers see either the old or the new content.
///
/// # Errors
///
/// Returns an error if the directory or file cannot be written; an existing file is then unchanged.
pub fn write_private(path: &Utf8Path, content: &str) -> Result<(), CommandError> {
    use std::io::Write as _;

    let doing = || format!("cannot write {path}");
    if let Some(dir) = path.parent().filter(|dir| !dir.as_str().is_empty()) {
        make_private_dir(dir)?;
    }
    if capn_image::ownership::is_foreign_link(path) {
        return Err(CommandError::new(format!(
            "{path} is a symbolic link created by another user"
        ))
        .hint("check its target, and use another file"));
    }
    // A kubeconfig is often a symbolic link into another directory; keep the link.
    let target = match path.canonicalize_utf8() {
        Ok(target) => target,
        Err(_) => path.to_owned(),
    };
    let dir = target.parent().filter(|dir| !dir.as_str().is_empty());
    let written = (|| {
        // The file is new, has an unpredictable name, and is readable by this user only.
        let mut file = tempfile::Builder::new()
            .prefix(".capn-")
            .tempfile_in(dir.unwrap_or(Utf8Path::new(".")))?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        std::io::Result::Ok(())
    })();
    written.doing(doing())
}

/// Creates a file that only this user can read, atomically. Does not overwrite.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be written.
pub fn write_new_private(path: &Utf8Path, content: &[u8]) -> Result<(), CommandError> {
    use std::io::Write as _;

    let dir = path.parent().filter(|dir| !dir.as_str().is_empty());
    let written = (|| {
        let mut file = tempfile::Builder::new()
            .prefix(".capn-")
            .tempfile_in(dir.unwrap_or(Utf8Path::new(".")))?;
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
    fn clusters_of_one_name_in_two_namespaces_have_their_own_kubeconfigs() {
        let state = StateDir::at(Utf8Path::new("/state"));
        let path = |namespace| state.cluster_kubeconfig(namespace, "demo");
        assert_eq!(path("default"), "/state/clusters/demo.kubeconfig");
        assert_eq!(path("team"), "/state/clusters/team/demo.kubeconfig");
    }

    #[test]
    fn a_private_file_is_not_written_through_another_users_link() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let (real, link) = (dir.join("real"), dir.join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        // Only root can change the owner of a link.
        if std::os::unix::fs::lchown(&link, Some(12345), None).is_ok() {
            let error = write_private(&link, "new").unwrap_err();
            assert!(
                error.to_string().contains("a symbolic link created by another user"),
                "{error}"
            );
            assert_eq!(std::fs::read_to_string(&real).unwrap(), "old");
        }
    }

    #[test]
    fn creating_a_private_file_does_not_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(dir.path()).unwrap().join("new");
        write_new_private(&file, b"first").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_new_private(&file, b"second").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_replaces_the_target_of_a_link_and_keeps_the_link() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let (real, link) = (dir.join("real"), dir.join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_private(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
