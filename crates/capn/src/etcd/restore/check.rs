//! Checks whether a file is a snapshot that a cluster can be restored from.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use crate::error::{CommandError, Doing as _};
use crate::etcd::store::MOST_BYTES;
use crate::etcd::{Folder, Kept, Record};
use crate::preflight::KubernetesVersion;

/// Length of the digest at the end of a snapshot.
const DIGEST: usize = 32;
/// Minimum page size of a database.
const PAGE: u64 = 512;
/// Name of the newest snapshot.
pub(super) const LATEST: &str = "latest";

/// Finds the file: the newest snapshot of the cluster, a name in its directory, or a path.
///
/// # Errors
///
/// Returns an error if it does not exist.
pub(super) fn find(folder: &Folder, from: &str, uid: &str) -> Result<Kept, CommandError> {
    let kept = folder.list()?;
    let hint = || format!("list the snapshots in {}, or use a file: `--from FILE`", folder.path());
    if from == LATEST {
        let is_of = |kept: &Kept| kept.record.as_ref().is_some_and(|record| record.uid == uid);
        return kept.into_iter().find(is_of).ok_or_else(|| {
            CommandError::new("the state directory has no snapshot of this cluster").hint(hint())
        });
    }
    if let Some(found) = kept.into_iter().find(|kept| kept.name == from) {
        return Ok(found);
    }
    let path = Utf8PathBuf::from(from);
    let path = camino::absolute_utf8(&path).doing(format!("cannot resolve {path}"))?;
    Kept::at(&path).map_err(|error| error.hint(hint()))
}

/// Properties of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size_bytes: u64,
    /// SHA-256 of all of it.
    pub(super) sha256: String,
    /// Whether it ends with the digest of the preceding data.
    pub(super) is_whole: bool,
}

/// Reads a file. Blocks for a while, so do not call it on a runtime thread.
///
/// # Errors
///
/// Returns an error if it cannot be read or is larger than any snapshot.
pub(super) fn read(path: &Utf8Path) -> Result<Content, CommandError> {
    let doing = || format!("cannot read {path}");
    let mut file = std::fs::File::open(path).doing(doing())?;
    let (mut all, mut database) = (Sha256::new(), Sha256::new());
    let (mut size_bytes, mut tail) = (0_u64, Vec::with_capacity(DIGEST));
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = file.read(&mut buffer).doing(doing())?;
        if length == 0 {
            break;
        }
        let piece = buffer.get(..length).unwrap_or_default();
        all.update(piece);
        tail.extend_from_slice(piece);
        let sure = tail.len().saturating_sub(DIGEST);
        database.update(tail.get(..sure).unwrap_or_default());
        tail.drain(..sure);
        size_bytes = size_bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if size_bytes > MOST_BYTES.saturating_add(PAGE) {
            return Err(CommandError::new(format!(
                "{path} is larger than 8 GiB, so it is not a snapshot"
            )));
        }
    }
    let is_whole =
        size_bytes % PAGE == DIGEST as u64 && database.finalize().as_slice() == tail.as_slice();
    Ok(Content { size_bytes, sha256: hex::encode(all.finalize()), is_whole })
}

/// The cluster to restore.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    /// Version of its control plane.
    pub(super) version: &'a str,
}

/// Reason against the restore.
///
/// # Errors
///
/// Returns the first reason. `force` skips reasons that only make success unlikely.
pub(super) fn verdict(
    content: &Content,
    record: Option<&Record>,
    subject: Subject<'_>,
    force: bool,
) -> Result<(), CommandError> {
    let damaged = |why: &str| {
        Err(CommandError::new(format!("the file is damaged or not a snapshot: {why}"))
            .hint("use another one: `capn etcd snapshot list`"))
    };
    if !content.is_whole {
        return damaged("it does not end with the SHA-256 of its data");
    }
    let unlikely = |why: String| match force {
        true => Ok(()),
        false => Err(CommandError::new(why).hint("to restore anyway: `--force`")),
    };
    let Some(record) = record else {
        return unlikely("the cluster of the snapshot is unknown, since it has no record".into());
    };
    if record.sha256 != content.sha256 || record.size_bytes != content.size_bytes {
        return damaged("its SHA-256 differs from the recorded one");
    }
    if record.uid != subject.uid {
        let Record { namespace, cluster, .. } = record;
        let other = (namespace.as_str(), cluster.as_str()) != (subject.namespace, subject.name);
        let of = if other {
            format!("`{namespace}/{cluster}`")
        } else {
            "an earlier cluster with that name".into()
        };
        return unlikely(format!(
            "the snapshot belongs to another cluster ({of}), whose keys differ from those of `{}`",
            subject.name
        ));
    }
    let minor = |text: &str| text.parse::<KubernetesVersion>().ok().map(|version| version.minor());
    if let Some(taken) = &record.kubernetes_version
        && let (Some(then), Some(now)) = (minor(taken), minor(subject.version))
        && then > now
    {
        return unlikely(format!(
            "the snapshot was taken with Kubernetes {taken}, but the control plane runs {}: an older API server cannot read everything that a newer one stored",
            subject.version
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
