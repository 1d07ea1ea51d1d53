//! The cache directory: completed layers and packed images, and space for the current build.
//!
//! ```text
//! lock                    held by the running build
//! debs/                   downloaded packages
//! digests.json            digests of Kubernetes binaries, by size and time
//! layers/NAME-HASH/       root file systems, each in `rootfs`, or what it adds to the base
//! images/KIND-RECIPE/     metadata.tar.gz, rootfs.squashfs
//! work/                   incomplete; removed by the next build
//! ```
//!
//! Everything gets its final name when it is complete, so that anything with a final name can be
//! used.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{fs, process::Command};

use super::{BuildError, Stage, root::Root, step::Step};
use crate::recipe::{self, SCRIPTS};

pub(super) struct Workspace {
    cache: Utf8PathBuf,
    overlay: bool,
}

impl Workspace {
    /// Creates what is missing in the cache directory, and removes incomplete data of an earlier build. The
    /// caller holds the lock of the directory.
    pub(super) async fn open(cache: &Utf8Path) -> Result<Self, BuildError> {
        crate::ownership::check(cache)?;
        for directory in ["", "debs", "layers", "images"] {
            let path = cache.join(directory);
            fs::create_dir_all(&path).await.map_err(failed("make", &path))?;
        }
        let mut workspace = Self { cache: cache.to_owned(), overlay: true };
        remove(&workspace.work()).await?;
        let scripts = workspace.scripts();
        fs::create_dir_all(&scripts).await.map_err(failed("make", &scripts))?;
        for (name, text) in SCRIPTS {
            let path = scripts.join(name);
            fs::write(&path, text).await.map_err(failed("write", &path))?;
        }
        workspace.overlay = workspace.probe().await?;
        Ok(workspace)
    }

    /// Returns whether an overlay can be mounted here.
    async fn probe(&self) -> Result<bool, BuildError> {
        // The kernel uses these as separators of directories and options.
        if self.cache.as_str().contains([':', ',', '\\']) {
            return Ok(false);
        }
        let root = Root::over(self, "probe", vec![self.scripts()]).await?;
        let scripts = self.scripts();
        let step = root.enter(Step::new(Stage::Base, "probe.sh", &scripts));
        match step.run(&mut |_| {}).await {
            Err(BuildError::Step { tail, .. }) => {
                tracing::debug!(cache = %self.cache, reason = tail, "overlayfs cannot be used, copying layers");
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// Returns whether layers are stacked; otherwise each is complete.
    pub(super) fn has_overlay(&self) -> bool {
        self.overlay
    }

    /// Returns the directory of incomplete data.
    pub(super) fn work(&self) -> Utf8PathBuf {
        self.cache.join("work")
    }

    /// Returns the recipe's scripts.
    pub(super) fn scripts(&self) -> Utf8PathBuf {
        self.work().join("scripts")
    }

    /// Downloaded packages.
    pub(super) fn debs(&self) -> Utf8PathBuf {
        self.cache.join("debs")
    }

    /// Returns the directory of a layer, complete or not.
    pub(super) fn layer(&self, name: &str, hash: &str) -> Utf8PathBuf {
        let form = if self.overlay { "" } else { "-whole" };
        self.cache.join("layers").join(format!("{name}{form}-{}", short(hash)))
    }

    /// Creates an empty directory for new data.
    pub(super) async fn new_directory(&self, name: &str) -> Result<Utf8PathBuf, BuildError> {
        let path = self.work().join(name);
        remove(&path).await?;
        fs::create_dir_all(&path).await.map_err(failed("make", &path))?;
        Ok(path)
    }

    /// Gives complete data its final name, and removes earlier data of the same kind.
    pub(super) async fn keep(&self, made: &Utf8Path, path: &Utf8Path) -> Result<(), BuildError> {
        remove(path).await?;
        fs::rename(made, path).await.map_err(failed("move", made))?;
        let Some((directory, name)) = path.parent().zip(path.file_name()) else { return Ok(()) };
        let kind = name.rsplit_once('-').map_or(name, |(kind, _)| kind);
        for entry in directory.read_dir_utf8().map_err(failed("read", directory))?.flatten() {
            let other = entry.file_name();
            let same_kind = other.rsplit_once('-').is_some_and(|(found, _)| found == kind);
            if same_kind && other != name {
                remove(entry.path()).await?;
            }
        }
        Ok(())
    }

    /// Removes the work directory. After a failure, the next build removes it.
    pub(super) async fn close(self) -> Result<(), BuildError> {
        remove(&self.work()).await
    }
}

/// Returns the directory of a packed image, which can be checked without a lock.
pub(super) fn packed(cache: &Utf8Path, kind: &str, recipe: &str) -> Utf8PathBuf {
    cache.join("images").join(format!("{kind}-{}", short(recipe)))
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

/// Copies a root file system, with reflinks where possible.
pub(super) async fn copy_tree(from: &Utf8Path, to: &Utf8Path) -> Result<(), BuildError> {
    let run = |source| BuildError::Run { program: "cp".to_owned(), source };
    let output = Command::new("cp")
        .args(["--archive", "--reflink=auto", from.as_str(), to.as_str()])
        .env("LC_ALL", "C.UTF-8")
        .kill_on_drop(true)
        .output()
        .await
        .map_err(run)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("No space left on device") {
        return Err(BuildError::DiskFull { path: to.to_owned() });
    }
    Err(failed("write", to)(std::io::Error::other(text.trim().to_owned())))
}

/// Writes files of the recipe below a root directory.
pub(super) async fn write_files(root: &Utf8Path, files: &[recipe::File]) -> Result<(), BuildError> {
    use std::os::unix::fs::PermissionsExt;
    for file in files {
        let path = root.join(file.path.trim_start_matches('/'));
        make_parent(&path).await?;
        fs::write(&path, &file.text).await.map_err(failed("write", &path))?;
        let mode = std::fs::Permissions::from_mode(file.mode);
        fs::set_permissions(&path, mode).await.map_err(failed("set the mode of", &path))?;
    }
    Ok(())
}

/// Creates the parent directory of a file.
pub(super) async fn make_parent(path: &Utf8Path) -> Result<(), BuildError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).await.map_err(failed("make", parent))
}

/// Removes a directory or file if it exists.
pub(super) async fn remove(path: &Utf8Path) -> Result<(), BuildError> {
    let result = match fs::symlink_metadata(path).await {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).await,
        Ok(_) => fs::remove_file(path).await,
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Returns the error of an action on a path; a full disk is a separate error.
pub(super) fn failed<'a>(
    act: &'static str,
    path: &'a Utf8Path,
) -> impl Fn(std::io::Error) -> BuildError + Copy + 'a {
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            BuildError::DiskFull { path: path.to_owned() }
        }
        _ => BuildError::File { act, path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn workspace(directory: &tempfile::TempDir) -> Result<Workspace, BuildError> {
        Workspace::open(Utf8Path::from_path(directory.path()).unwrap()).await
    }

    #[tokio::test]
    async fn unfinished_layers_are_removed_and_finished_ones_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = workspace(&directory).await.unwrap();
        let made = first.new_directory("base").await.unwrap();
        let kept = first.layer("base", &"a".repeat(64));
        first.keep(&made, &kept).await.unwrap();
        let other = first.layer("node", &"a".repeat(64));
        first.keep(&first.new_directory("node").await.unwrap(), &other).await.unwrap();
        let unfinished = first.new_directory("half").await.unwrap();
        drop(first);

        let second = workspace(&directory).await.unwrap();
        assert!(!unfinished.exists());
        let newer = second.layer("base", &"b".repeat(64));
        second.keep(&second.new_directory("base").await.unwrap(), &newer).await.unwrap();
        assert_eq!((kept.exists(), newer.exists(), other.exists()), (false, true, true));
    }
}
