//! Snapshot files: a directory per cluster with snapshots and records, and leftovers of killed
//! runs.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::record::{Reason, Record};
use crate::error::{CommandError, Doing as _};
use crate::state::{StateDir, file_names, make_private_dir, write_private};
use crate::ui::readable;

/// Prefix and suffix of incomplete files.
const PARTIAL: (&str, &str) = (".capn-etcd-", ".partial");
/// Suffix of snapshots in the state directory.
const END: &str = ".db";
/// Maximum number of snapshots with names from the same second.
const SAME_SECOND: usize = 100;
/// Maximum number of files in a directory.
const MOST_FILES: usize = 20_000;
/// Maximum database size: the largest quota that etcd recommends.
pub(super) const MOST_BYTES: u64 = 8 << 30;
/// Reserved share of the file system, and its maximum.
const RESERVE: (u64, u64) = (20, 4 << 30);

/// The snapshots of a cluster in the state directory.
#[derive(Clone, Debug)]
pub struct Folder {
    path: Utf8PathBuf,
}

/// An existing snapshot.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The file.
    pub path: Utf8PathBuf,
    /// Its file name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, if it has no record.
    pub written: Timestamp,
    /// Its record.
    pub record: Option<Record>,
}

impl Kept {
    /// When it was taken.
    pub fn taken(&self) -> Timestamp {
        self.record.as_ref().map_or(self.written, |record| record.taken)
    }

    /// Returns whether the schedule took it of the cluster with this UID.
    pub(super) fn is_scheduled(&self, uid: &str) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.reason == Reason::Schedule && record.uid == uid)
    }

    /// Creates a snapshot at any path.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not exist or is not a file.
    pub fn at(path: &Utf8Path) -> Result<Self, CommandError> {
        let doing = || format!("cannot read {path}");
        let found = std::fs::metadata(path).doing(doing())?;
        if !found.is_file() {
            return Err(CommandError::new(format!("{path} is not a file")));
        }
        let written = found.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        Ok(Self {
            path: path.to_owned(),
            name: path.file_name().unwrap_or_default().to_owned(),
            size_bytes: found.len(),
            written: written.unwrap_or_default(),
            record: Record::read(path),
        })
    }
}

impl Folder {
    /// Returns the directory of a cluster. It may not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the names are not valid for a cluster.
    pub fn of(state: &StateDir, namespace: &str, cluster: &str) -> Result<Self, CommandError> {
        file_names([namespace, cluster])?;
        Ok(Self { path: state.etcd_snapshots().join(namespace).join(cluster) })
    }

    /// Returns its path.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Returns the snapshots, newest first; empty if the directory does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read.
    pub fn list(&self) -> Result<Vec<Kept>, CommandError> {
        let mut found = Vec::new();
        for name in names(&self.path)? {
            let is_file = self.path.join(&name).symlink_metadata().is_ok_and(|it| it.is_file());
            if name.starts_with('.') || !name.ends_with(END) || !is_file || name != readable(&name)
            {
                continue;
            }
            match Kept::at(&self.path.join(&name)) {
                Ok(kept) => found.push(kept),
                // Deleted by another process.
                Err(error) => tracing::debug!(%error, "cannot list a snapshot"),
            }
        }
        found.sort_by(|a, b| (b.taken(), &b.name).cmp(&(a.taken(), &a.name)));
        Ok(found)
    }

    /// Deletes a snapshot and then its record.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be deleted.
    pub fn remove(&self, name: &str) -> Result<(), CommandError> {
        let path = self.path.join(name);
        for path in [path.clone(), Record::path(&path)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).doing(format!("cannot delete {path}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the disk usage of a namespace's snapshots in bytes, including those of deleted clusters.
///
/// # Errors
///
/// Returns an error if its directories cannot be read, or if the name is not valid.
pub(super) fn used(state: &StateDir, namespace: &str) -> Result<u64, CommandError> {
    // Validates the name, too.
    let of_namespace = Folder::of(state, namespace, "a")?;
    let Some(folder) = of_namespace.path.parent() else { return Ok(0) };
    let mut sum: u64 = 0;
    for cluster in names(folder)?.into_iter().map(|cluster| folder.join(cluster)) {
        if !cluster.is_dir() {
            continue;
        }
        for name in names(&cluster)? {
            let found = cluster.join(&name).symlink_metadata();
            sum = sum.saturating_add(found.map(|found| found.len()).unwrap_or_default());
        }
    }
    Ok(sum)
}

/// Names in a directory; empty if it does not exist.
fn names(folder: &Utf8Path) -> Result<Vec<String>, CommandError> {
    let doing = || format!("cannot read the directory {folder}");
    let entries = match folder.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(doing())?,
    };
    let mut names = Vec::new();
    for entry in entries.take(MOST_FILES) {
        names.push(entry.doing(doing())?.file_name().to_owned());
    }
    Ok(names)
}

/// An incomplete snapshot. It is deleted on drop, or with the next one if its process was killed.
#[derive(Debug)]
pub(super) struct Draft {
    file: NamedTempFile,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A name based on the time.
    Folder(Utf8PathBuf),
    File(Utf8PathBuf),
}

impl Draft {
    /// Creates a draft of a snapshot in the directory of a cluster.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written.
    pub(super) fn within(folder: &Folder) -> Result<Self, CommandError> {
        make_private_dir(&folder.path)?;
        clear_orphans(&folder.path)?;
        Self::start(&folder.path, Target::Folder(folder.path.clone()))
    }

    /// Creates a draft of a snapshot with this path, which must not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if it exists or cannot be written.
    pub(super) fn at(path: &Utf8Path) -> Result<Self, CommandError> {
        for path in [path.to_owned(), Record::path(path)] {
            if path.symlink_metadata().is_ok() {
                return Err(taken(&path));
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_str().is_empty());
        Self::start(folder.unwrap_or(Utf8Path::new(".")), Target::File(path.to_owned()))
    }

    fn start(folder: &Utf8Path, target: Target) -> Result<Self, CommandError> {
        let doing = || format!("cannot write into {folder}");
        clear_partials(folder)?;
        // The file is new, has an unpredictable name, and is readable by this user only.
        let file = tempfile::Builder::new().prefix(PARTIAL.0).suffix(PARTIAL.1).tempfile_in(folder);
        let file = file.doing(doing())?;
        // The lock shows that it is being written.
        file.as_file().try_lock().doing(doing())?;
        Ok(Self { file, target })
    }

    /// Returns the file to write to.
    ///
    /// # Errors
    ///
    /// Returns an error if the process has too many open files.
    pub(super) fn writer(&self) -> Result<tokio::fs::File, CommandError> {
        let file = self.file.as_file().try_clone().doing("cannot open the snapshot again")?;
        Ok(tokio::fs::File::from_std(file))
    }

    /// Returns the maximum size of the database: the file system keeps a reserve.
    ///
    /// # Errors
    ///
    /// Returns an error if the free space cannot be determined.
    pub(super) fn most_bytes(&self) -> Result<u64, CommandError> {
        let found = rustix::fs::fstatvfs(self.file.as_file())
            .doing("cannot determine the free space of the file system")?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let all = found.f_blocks.saturating_mul(found.f_frsize);
        Ok(MOST_BYTES.min(free.saturating_sub((all / RESERVE.0).min(RESERVE.1))))
    }

    /// Syncs the snapshot and its record and gives them their final names.
    ///
    /// # Errors
    ///
    /// Returns an error if they cannot be written, or if a file with that name was created
    /// meanwhile.
    pub(super) fn keep(self, record: &Record) -> Result<Utf8PathBuf, CommandError> {
        let Self { file, target } = self;
        let doing = |path: &Utf8Path| format!("cannot write {path}");
        let text = crate::output::json(record)?;
        let (folder, candidates): (Utf8PathBuf, Vec<Utf8PathBuf>) = match target {
            Target::File(path) => {
                (path.parent().unwrap_or(Utf8Path::new("")).to_owned(), vec![path])
            }
            Target::Folder(folder) => {
                let time = record.taken.strftime("%Y%m%dT%H%M%SZ").to_string();
                let name = |n: usize| match n {
                    0 => folder.join(format!("{time}{END}")),
                    n => folder.join(format!("{time}_{n}{END}")),
                };
                let names = (0..SAME_SECOND).map(name).collect();
                (folder, names)
            }
        };
        let folder = if folder.as_str().is_empty() { Utf8PathBuf::from(".") } else { folder };
        file.as_file().sync_all().doing(doing(&folder))?;
        let mut file = file;
        for path in &candidates {
            // The record first: a snapshot without a record would have no cluster; a record without
            // a snapshot is cleaned up.
            if path.exists() || Record::path(path).exists() {
                continue;
            }
            write_private(&Record::path(path), &text)?;
            match file.persist_noclobber(path) {
                Ok(_) => {
                    File::open(&folder).and_then(|folder| folder.sync_all()).doing(doing(path))?;
                    return Ok(path.clone());
                }
                Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                    file = error.file;
                }
                Err(error) => return Err(error.error).doing(doing(path)),
            }
        }
        Err(taken(candidates.first().map_or(folder.as_path(), Utf8PathBuf::as_path)))
    }
}

fn taken(path: &Utf8Path) -> CommandError {
    CommandError::new(format!("{path} already exists"))
        .hint("snapshots are never overwritten: use a new file name")
}

/// Deletes incomplete snapshots of killed runs, which nobody has locked.
fn clear_partials(folder: &Utf8Path) -> Result<(), CommandError> {
    let ours = rustix::process::geteuid().as_raw();
    for name in names(folder)? {
        if !name.starts_with(PARTIAL.0) || !name.ends_with(PARTIAL.1) {
            continue;
        }
        let path = folder.join(&name);
        let is_ours = |found: &std::fs::Metadata| found.is_file() && found.uid() == ours;
        if !path.symlink_metadata().is_ok_and(|found| is_ours(&found)) {
            continue;
        }
        let Ok(file) = File::options().write(true).open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!(%path, "deleted an incomplete snapshot of a killed run"),
                Err(error) => tracing::warn!(%path, %error, "cannot delete an incomplete snapshot"),
            },
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%path, %error, "cannot check its lock");
            }
        }
    }
    Ok(())
}

/// Age at which a record without a snapshot is deleted.
const ORPHANED: std::time::Duration = std::time::Duration::from_secs(600);

/// Deletes records of snapshots that were never completed.
fn clear_orphans(folder: &Utf8Path) -> Result<(), CommandError> {
    for name in names(folder)? {
        let Some(snapshot) = name.strip_suffix(".json").filter(|name| name.ends_with(END)) else {
            continue;
        };
        let path = folder.join(&name);
        let age = path.metadata().and_then(|found| found.modified()).map(|at| at.elapsed());
        let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > ORPHANED));
        if is_old
            && !folder.join(snapshot).exists()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%path, %error, "cannot delete a record without a snapshot");
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
