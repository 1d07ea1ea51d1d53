//! The files: a folder for each cluster, a snapshot and its record, and what killed runs left.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::record::{Reason, Record};
use crate::error::{CommandError, Doing as _};
use crate::state::{StateDir, make_private_dir, write_private};

/// Beginning and end of the names of files that are not whole yet.
const PARTIAL: (&str, &str) = (".capn-etcd-", ".partial");
/// End of the names of snapshots in the state folder.
const END: &str = ".db";
/// How many snapshots of a second get a name.
const SAME_SECOND: usize = 100;
/// Files that a folder is searched for; one with more is not ours.
const MOST_FILES: usize = 20_000;
/// The largest database that is taken: what etcd suggests as the largest quota.
pub(super) const MOST_BYTES: u64 = 8 << 30;
/// The part of the file system that stays free, and the most that it has to be.
const RESERVE: (u64, u64) = (20, 4 << 30);

/// The snapshots of a cluster in the state folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: Utf8PathBuf,
}

/// A snapshot that is there.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The file.
    pub path: Utf8PathBuf,
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written, for want of a record.
    pub written: Timestamp,
    /// What is known of it.
    pub record: Option<Record>,
}

impl Kept {
    /// When it was taken.
    pub fn taken(&self) -> Timestamp {
        self.record.as_ref().map_or(self.written, |record| record.taken)
    }

    /// Whether the schedule took it of the cluster with this UID.
    pub(super) fn is_scheduled(&self, uid: &str) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.reason == Reason::Schedule && record.uid == uid)
    }

    /// A file somewhere.
    ///
    /// # Errors
    ///
    /// When it is not there, or no file.
    pub fn at(path: &Utf8Path) -> Result<Self, CommandError> {
        let doing = || format!("cannot read {path}");
        let found = std::fs::metadata(path).doing(doing())?;
        if !found.is_file() {
            return Err(CommandError::new(format!("{path} is no file")));
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
    /// That of a cluster. It need not be there.
    ///
    /// # Errors
    ///
    /// When the names cannot be those of a cluster.
    pub fn of(state: &StateDir, namespace: &str, cluster: &str) -> Result<Self, CommandError> {
        for name in [namespace, cluster] {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
            let is_name = !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain);
            if !is_name {
                return Err(CommandError::usage(format!("`{name}` is no name of a cluster")));
            }
        }
        Ok(Self { path: state.etcd_snapshots().join(namespace).join(cluster) })
    }

    /// Where it is.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The snapshots, the newest first. None if there is no folder.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn list(&self) -> Result<Vec<Kept>, CommandError> {
        let mut found = Vec::new();
        for name in names(&self.path)? {
            if name.starts_with('.') || !name.ends_with(END) {
                continue;
            }
            match Kept::at(&self.path.join(&name)) {
                Ok(kept) => found.push(kept),
                // Another process took it away.
                Err(error) => tracing::debug!(%error, "a snapshot is not listed"),
            }
        }
        found.sort_by(|a, b| (b.taken(), &b.name).cmp(&(a.taken(), &a.name)));
        Ok(found)
    }

    /// Takes a snapshot away, and then its record.
    ///
    /// # Errors
    ///
    /// When it cannot be deleted.
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

/// What the snapshots of a namespace take on disk, in bytes, also those of clusters that are gone.
///
/// # Errors
///
/// When its folders cannot be read, or the name cannot be that of a namespace.
pub(super) fn used(state: &StateDir, namespace: &str) -> Result<u64, CommandError> {
    // Checks the name, too.
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

/// Names in a folder; none if it is not there.
fn names(folder: &Utf8Path) -> Result<Vec<String>, CommandError> {
    let doing = || format!("cannot read the folder {folder}");
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

/// A snapshot that is being written. It goes when it is dropped, and with the next one when its process
/// was killed.
#[derive(Debug)]
pub(super) struct Draft {
    file: NamedTempFile,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A name by time.
    Folder(Utf8PathBuf),
    File(Utf8PathBuf),
}

impl Draft {
    /// One that ends up in the folder of a cluster.
    ///
    /// # Errors
    ///
    /// When it cannot be written there.
    pub(super) fn within(folder: &Folder) -> Result<Self, CommandError> {
        make_private_dir(&folder.path)?;
        clear_orphans(&folder.path)?;
        Self::start(&folder.path, Target::Folder(folder.path.clone()))
    }

    /// One that ends up as this file, which must not be there.
    ///
    /// # Errors
    ///
    /// When it is there, or cannot be written.
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
        // Its name cannot be guessed, it is new, and only this user can read it.
        let file = tempfile::Builder::new().prefix(PARTIAL.0).suffix(PARTIAL.1).tempfile_in(folder);
        let file = file.doing(doing())?;
        // As long as it is locked somebody writes it.
        file.as_file().try_lock().doing(doing())?;
        Ok(Self { file, target })
    }

    /// To write to.
    ///
    /// # Errors
    ///
    /// When the process has too many files open.
    pub(super) fn writer(&self) -> Result<tokio::fs::File, CommandError> {
        let file = self.file.as_file().try_clone().doing("cannot open the snapshot once more")?;
        Ok(tokio::fs::File::from_std(file))
    }

    /// How large a database may be: the file system keeps some room for others.
    ///
    /// # Errors
    ///
    /// When the file system does not say.
    pub(super) fn most_bytes(&self) -> Result<u64, CommandError> {
        let found = rustix::fs::fstatvfs(self.file.as_file())
            .doing("cannot ask the file system for its free space")?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let all = found.f_blocks.saturating_mul(found.f_frsize);
        Ok(MOST_BYTES.min(free.saturating_sub((all / RESERVE.0).min(RESERVE.1))))
    }

    /// Gives what was written its name, beside its record, when both are on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or somebody made a file of that name meanwhile.
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
            // Before: a snapshot without a record belongs to nobody, a record without one to the next run.
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
    CommandError::new(format!("{path} is there already"))
        .hint("a snapshot is never written over another: name a new file")
}

/// Deletes what killed runs left of snapshots, of which nobody holds the lock.
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
                Ok(()) => tracing::info!(%path, "deleted what a killed run left of a snapshot"),
                Err(error) => tracing::warn!(%path, %error, "a part of a snapshot stays behind"),
            },
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%path, %error, "cannot find out who writes it");
            }
        }
    }
    Ok(())
}

/// How old a record without a snapshot is before its run is over.
const ORPHANED: std::time::Duration = std::time::Duration::from_secs(600);

/// Deletes records of snapshots that were not written in the end.
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
            tracing::warn!(%path, %error, "the record of no snapshot stays behind");
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
