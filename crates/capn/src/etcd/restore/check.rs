//! Whether a file is a snapshot that a cluster may go back to.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use crate::error::{CommandError, Doing as _};
use crate::etcd::store::MOST_BYTES;
use crate::etcd::{Folder, Kept, Record};
use crate::preflight::KubernetesVersion;

/// Length of the digest at the end of a snapshot.
const DIGEST: usize = 32;
/// No page of a database is smaller.
const PAGE: u64 = 512;
/// The newest one.
pub(super) const LATEST: &str = "latest";

/// The file that is meant: the newest of this cluster, a name in its folder, or a path.
///
/// # Errors
///
/// When there is none.
pub(super) fn find(folder: &Folder, from: &str, uid: &str) -> Result<Kept, CommandError> {
    let kept = folder.list()?;
    let hint = || format!("look for it in {}, or name a file: `--from FILE`", folder.path());
    if from == LATEST {
        let is_of = |kept: &Kept| kept.record.as_ref().is_some_and(|record| record.uid == uid);
        return kept.into_iter().find(is_of).ok_or_else(|| {
            CommandError::new("there is no snapshot of this cluster in the state folder")
                .hint(hint())
        });
    }
    if let Some(found) = kept.into_iter().find(|kept| kept.name == from) {
        return Ok(found);
    }
    let path = Utf8PathBuf::from(from);
    let path = camino::absolute_utf8(&path).doing(format!("cannot find out where {path} is"))?;
    Kept::at(&path).map_err(|error| error.hint(hint()))
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size_bytes: u64,
    /// SHA-256 of all of it.
    pub(super) sha256: String,
    /// Whether it ends with the digest of what is before.
    pub(super) is_whole: bool,
}

/// Reads a file. It is long: not on a thread that others wait for.
///
/// # Errors
///
/// When it cannot be read, or is longer than any snapshot.
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
                "{path} is longer than 8 GiB: it is no snapshot"
            )));
        }
    }
    let is_whole =
        size_bytes % PAGE == DIGEST as u64 && database.finalize().as_slice() == tail.as_slice();
    Ok(Content { size_bytes, sha256: hex::encode(all.finalize()), is_whole })
}

/// The cluster that is to go back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    /// The version that its control plane asks for.
    pub(super) version: &'a str,
}

/// What is against it.
///
/// # Errors
///
/// The first reason. `force` passes over what is only unlikely to work.
pub(super) fn verdict(
    content: &Content,
    record: Option<&Record>,
    subject: Subject<'_>,
    force: bool,
) -> Result<(), CommandError> {
    let damaged = |why: &str| {
        Err(CommandError::new(format!("the file is damaged, or no snapshot: {why}"))
            .hint("take another: `capn etcd snapshot list` shows what there is"))
    };
    if !content.is_whole {
        return damaged("it does not end with the SHA-256 of what is before");
    }
    let unlikely = |why: String| match force {
        true => Ok(()),
        false => Err(CommandError::new(why).hint("if you are sure: `--force`")),
    };
    let Some(record) = record else {
        return unlikely(
            "it is not known which cluster the snapshot is of: there is no record beside it".into(),
        );
    };
    if record.sha256 != content.sha256 || record.size_bytes != content.size_bytes {
        return damaged("its SHA-256 is not the one that was recorded when it was taken");
    }
    if record.uid != subject.uid {
        let Record { namespace, cluster, .. } = record;
        let other = (namespace.as_str(), cluster.as_str()) != (subject.namespace, subject.name);
        let of = if other {
            format!("`{namespace}/{cluster}`")
        } else {
            "an earlier one of that name".into()
        };
        return unlikely(format!(
            "the snapshot is of another cluster, {of}: its keys are not those of `{}`",
            subject.name
        ));
    }
    let minor = |text: &str| text.parse::<KubernetesVersion>().ok().map(|version| version.minor());
    if let Some(taken) = &record.kubernetes_version
        && let (Some(then), Some(now)) = (minor(taken), minor(subject.version))
        && then > now
    {
        return unlikely(format!(
            "the snapshot is of Kubernetes {taken}, and the control plane runs {}: an older API server does not understand all that a newer one has stored",
            subject.version
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
