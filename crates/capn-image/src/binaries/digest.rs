//! Digests of large files, cached by size and modification time.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::MetadataExt,
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    size: u64,
    mtime_ns: i64,
    inode: u64,
    sha256: String,
}

/// Returns the SHA-256 of each file, in hex. Digests of unchanged files come from the cache file
/// `memory`, which is updated; an unreadable cache only costs time.
///
/// Blocks: the first call for a directory takes one or two seconds.
pub(crate) fn digests(files: &[Utf8PathBuf], memory: &Utf8Path) -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string(memory).unwrap_or_default();
    let mut known: BTreeMap<String, Known> = serde_json::from_str(&text).unwrap_or_default();
    let mut changed = false;
    let mut digests = Vec::with_capacity(files.len());
    for path in files {
        let found = path.metadata()?;
        let mtime_ns = found.mtime().saturating_mul(1_000_000_000) + found.mtime_nsec();
        let same = known.get(path.as_str()).filter(|known| {
            (known.size, known.mtime_ns, known.inode) == (found.size(), mtime_ns, found.ino())
        });
        if let Some(known) = same {
            digests.push(known.sha256.clone());
            continue;
        }
        let sha256 = file_digest(path)?;
        digests.push(sha256.clone());
        let entry = Known { size: found.size(), mtime_ns, inode: found.ino(), sha256 };
        known.insert(path.to_string(), entry);
        changed = true;
    }
    if changed {
        known.retain(|path, _| Utf8Path::new(path).exists());
        if let Err(error) = remember(memory, &known) {
            tracing::debug!(%memory, %error, "cannot cache digests");
        }
    }
    Ok(digests)
}

/// Returns the SHA-256 of one file, in hex.
pub(crate) fn file_digest(path: &Utf8Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

fn remember(memory: &Utf8Path, known: &BTreeMap<String, Known>) -> io::Result<()> {
    if let Some(directory) = memory.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let directory = memory.parent().filter(|directory| !directory.as_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Utf8Path::new(".")))?;
    file.write_all(&serde_json::to_vec(known).map_err(io::Error::other)?)?;
    file.persist(memory)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_files_are_hashed_again() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap();
        let (file, memory) = (directory.join("etcd"), directory.join("cache/digests.json"));
        std::fs::write(&file, "one").unwrap();
        let first = digests(std::slice::from_ref(&file), &memory).unwrap();
        assert_eq!(first, [hex::encode(Sha256::digest("one"))]);

        // What is remembered is what is answered.
        let text = std::fs::read_to_string(&memory).unwrap().replace(&first[0], "remembered");
        std::fs::write(&memory, text).unwrap();
        assert_eq!(digests(std::slice::from_ref(&file), &memory).unwrap(), ["remembered"]);

        std::fs::write(&file, "other").unwrap();
        let second = digests(std::slice::from_ref(&file), &memory).unwrap();
        assert_eq!(second, [hex::encode(Sha256::digest("other"))]);
    }
}
