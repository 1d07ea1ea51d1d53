//! The cache folder: finished layers and packed images, and room for what is being made.
//!
//! ```text
//! lock                    held by the build that runs
//! debs/                   downloaded packages
//! digests.json            digests of Kubernetes binaries, by size and time
//! layers/NAME-HASH/       root file systems, each in `rootfs`, or what it adds to the base
//! images/KIND-RECIPE/     metadata.tar.gz, rootfs.squashfs
//! work/                   unfinished; removed by the next build
//! ```
//!
//! Things get their final name when they are complete, so that whatever has one can be used.

use std::fs::{File, TryLockError};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{fs, process::Command};

use super::{BuildError, Stage, root::Root, step::Step};
use crate::recipe::{self, SCRIPTS};

pub(super) struct Workspace {
    cache: Utf8PathBuf,
    overlay: bool,
    _lock: File,
}

impl Workspace {
    /// Takes the cache folder, making it if needed, and removes what a former build left
    /// unfinished.
    pub(super) async fn open(cache: &Utf8Path) -> Result<Self, BuildError> {
        crate::own::check(cache)?;
        for folder in ["", "debs", "layers", "images"] {
            let path = cache.join(folder);
            fs::create_dir_all(&path).await.map_err(failed("make", &path))?;
        }
        let path = cache.join("lock");
        let lock = File::create(&path).map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BuildError::Busy { path: cache.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
        }
        let mut workspace = Self { cache: cache.to_owned(), overlay: true, _lock: lock };
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

    /// Whether an overlay can be mounted here.
    async fn probe(&self) -> Result<bool, BuildError> {
        // The kernel separates folders and options by these.
        if self.cache.as_str().contains([':', ',', '\\']) {
            return Ok(false);
        }
        let root = Root::over(self, "probe", vec![self.scripts()]).await?;
        let scripts = self.scripts();
        let step = root.enter(Step::new(Stage::Base, "probe.sh", &scripts));
        match step.run(&mut |_| {}).await {
            Err(BuildError::Step { tail, .. }) => {
                tracing::debug!(cache = %self.cache, reason = tail, "no overlay, layers are copied");
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// Whether layers lie over each other; else each is whole.
    pub(super) fn has_overlay(&self) -> bool {
        self.overlay
    }

    /// Where unfinished things are.
    pub(super) fn work(&self) -> Utf8PathBuf {
        self.cache.join("work")
    }

    /// The recipe's scripts.
    pub(super) fn scripts(&self) -> Utf8PathBuf {
        self.work().join("scripts")
    }

    /// Downloaded packages.
    pub(super) fn debs(&self) -> Utf8PathBuf {
        self.cache.join("debs")
    }

    /// The folder of a layer, finished or not.
    pub(super) fn layer(&self, name: &str, hash: &str) -> Utf8PathBuf {
        let form = if self.overlay { "" } else { "-whole" };
        self.cache.join("layers").join(format!("{name}{form}-{}", short(hash)))
    }

    /// An empty folder for something new.
    pub(super) async fn fresh(&self, name: &str) -> Result<Utf8PathBuf, BuildError> {
        let path = self.work().join(name);
        remove(&path).await?;
        fs::create_dir_all(&path).await.map_err(failed("make", &path))?;
        Ok(path)
    }

    /// Gives a complete thing its final name, and removes former ones of the same kind.
    pub(super) async fn keep(&self, made: &Utf8Path, path: &Utf8Path) -> Result<(), BuildError> {
        remove(path).await?;
        fs::rename(made, path).await.map_err(failed("move", made))?;
        let Some((folder, name)) = path.parent().zip(path.file_name()) else { return Ok(()) };
        let kind = name.rsplit_once('-').map_or(name, |(kind, _)| kind);
        for entry in folder.read_dir_utf8().map_err(failed("read", folder))?.flatten() {
            let other = entry.file_name();
            let same_kind = other.rsplit_once('-').is_some_and(|(found, _)| found == kind);
            if same_kind && other != name {
                remove(entry.path()).await?;
            }
        }
        Ok(())
    }

    /// Removes the work folder; what is left of it after a failure goes with the next build.
    pub(super) async fn close(self) -> Result<(), BuildError> {
        remove(&self.work()).await
    }
}

/// The folder of a packed image, which can be looked for without taking the workspace.
pub(super) fn packed(cache: &Utf8Path, kind: &str, recipe: &str) -> Utf8PathBuf {
    cache.join("images").join(format!("{kind}-{}", short(recipe)))
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

/// Copies a root file system, sharing blocks where the file system can.
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

/// Writes files of the recipe under a root.
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

/// Makes the folder a file goes into.
pub(super) async fn make_parent(path: &Utf8Path) -> Result<(), BuildError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).await.map_err(failed("make", parent))
}

/// Removes a folder or file if it is there.
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

/// The error of an act on a path; a full disk is its own.
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

    async fn workspace(folder: &tempfile::TempDir) -> Result<Workspace, BuildError> {
        Workspace::open(Utf8Path::from_path(folder.path()).unwrap()).await
    }

    #[tokio::test]
    async fn a_second_build_in_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = workspace(&folder).await.unwrap();
        assert!(matches!(workspace(&folder).await, Err(BuildError::Busy { .. })));
        first.close().await.unwrap();
        assert!(workspace(&folder).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_unfinished_goes_and_what_is_finished_stays_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = workspace(&folder).await.unwrap();
        let made = first.fresh("base").await.unwrap();
        let kept = first.layer("base", &"a".repeat(64));
        first.keep(&made, &kept).await.unwrap();
        let other = first.layer("node", &"a".repeat(64));
        first.keep(&first.fresh("node").await.unwrap(), &other).await.unwrap();
        let unfinished = first.fresh("half").await.unwrap();
        drop(first);

        let second = workspace(&folder).await.unwrap();
        assert!(!unfinished.exists());
        let newer = second.layer("base", &"b".repeat(64));
        second.keep(&second.fresh("base").await.unwrap(), &newer).await.unwrap();
        assert_eq!((kept.exists(), newer.exists(), other.exists()), (false, true, true));
    }
}
