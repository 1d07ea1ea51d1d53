//! Comparison of every file in a tree with its documents.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::StreamsError;
use super::images::{File, Image};
use super::load::Streams;
use super::problem::{Location, Problem};
use super::source::Source;

/// Result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Number of images in the documents.
    pub images: usize,
    /// Number of files read.
    pub files: usize,
    /// Number of bytes read.
    pub bytes: u64,
    /// All problems; empty when the tree is correct.
    pub problems: Vec<Problem>,
}

/// A use of a file by an image.
struct Use<'a> {
    image: &'a Image,
    file: &'a File,
}

impl Use<'_> {
    fn location(&self) -> Location {
        Location::item(&self.image.product, &self.image.version, &self.file.item)
    }
}

/// Reads every file of every image once, and checks that it exists, its size, its hash, and the
/// fingerprint together with its metadata.
///
/// Memory use does not depend on file sizes. Calls `progress` with each file and the bytes read of
/// it.
///
/// # Errors
///
/// [`StreamsError`] when the server cannot be reached at all. Missing and different files are
/// problems.
pub async fn verify(
    source: &Source,
    streams: &Streams,
    progress: &mut (dyn FnMut(&str, u64) + Send),
) -> Result<Verified, StreamsError> {
    let mut checking = Checking { source, progress, found: Verified::default() };
    checking.found.images = streams.images.len();
    checking.found.problems.clone_from(&streams.problems);
    checking.index(streams);
    checking.aliases(streams);

    let mut metadata: BTreeMap<&str, Vec<Use<'_>>> = BTreeMap::new();
    let mut roots: BTreeMap<&str, Vec<Use<'_>>> = BTreeMap::new();
    for image in &streams.images {
        let file = &image.metadata;
        metadata.entry(&file.path).or_default().push(Use { image, file });
        if let Some(file) = &image.root {
            roots.entry(&file.path).or_default().push(Use { image, file });
        }
    }
    // The hash of an image continues from that of its metadata, so that no file is read twice.
    let mut begun: BTreeMap<&str, Sha256> = BTreeMap::new();
    for (path, uses) in metadata {
        let mut hash = [Sha256::new()];
        if checking.file(path, &uses, &mut hash).await? {
            let [hash] = hash;
            let whole = hex::encode(hash.clone().finalize());
            for used in uses.iter().filter(|used| used.image.root.is_none()) {
                checking.fingerprint(used, &whole);
            }
            begun.insert(path, hash);
        }
    }
    for (path, uses) in roots {
        let paths: BTreeSet<&str> =
            uses.iter().map(|used| used.image.metadata.path.as_str()).collect();
        let known: Vec<(&str, &Sha256)> =
            paths.iter().filter_map(|path| Some((*path, begun.get(path)?))).collect();
        let mut hashes: Vec<Sha256> = std::iter::once(Sha256::new())
            .chain(known.iter().map(|(_, hash)| (*hash).clone()))
            .collect();
        if !checking.file(path, &uses, &mut hashes).await? {
            continue;
        }
        for ((metadata, _), hash) in known.iter().zip(hashes.drain(1..)) {
            let combined = hex::encode(hash.finalize());
            for used in uses.iter().filter(|used| used.image.metadata.path == *metadata) {
                checking.fingerprint(used, &combined);
            }
        }
    }
    Ok(checking.found)
}

struct Checking<'a> {
    source: &'a Source,
    progress: &'a mut (dyn FnMut(&str, u64) + Send),
    found: Verified,
}

impl Checking<'_> {
    /// Servers ignore a document whose products the index does not list.
    fn index(&mut self, streams: &Streams) {
        for (path, document) in &streams.documents {
            let entry = streams.index.index.values().find(|entry| entry.path == *path);
            let listed = entry.map(|entry| entry.products.as_slice()).unwrap_or_default();
            for key in document.products.keys().filter(|key| !listed.contains(key)) {
                self.problem(Location::product(key), "is not in the index".to_owned());
            }
        }
    }

    /// Of products of one architecture, servers use any one that has the alias.
    fn aliases(&mut self, streams: &Streams) {
        let mut known: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (key, product) in streams.documents.iter().flat_map(|(_, doc)| &doc.products) {
            for alias in product.alias_list() {
                if let Some(other) = known.insert((&product.arch, alias), key)
                    && other != key
                {
                    let problem = format!("has the alias {alias}, which product {other} also has");
                    self.problem(Location::product(key), problem);
                }
            }
        }
    }

    fn problem(&mut self, location: Location, problem: String) {
        self.found.problems.push(Problem { location, problem });
    }

    fn fingerprint(&mut self, used: &Use<'_>, found: &str) {
        if !found.eq_ignore_ascii_case(&used.image.fingerprint) {
            let problem = format!(
                "the combined SHA-256 of the files is {found} instead of {}, as in the metadata \
                 item",
                used.image.fingerprint
            );
            self.problem(used.location(), problem);
        }
    }

    /// Reads a file into all hashes, of which the first is its own. Returns whether it matches all
    /// its uses.
    async fn file(
        &mut self,
        path: &str,
        uses: &[Use<'_>],
        hashes: &mut [Sha256],
    ) -> Result<bool, StreamsError> {
        let expected = uses.iter().map(|used| used.file.size).max().unwrap_or_default();
        let size = match self.read(path, hashes, expected).await {
            Ok(size) => size,
            Err(error) => {
                if let Some(problem) = absent(&error) {
                    for location in locations(uses) {
                        self.problem(location, format!("{path} {problem}"));
                    }
                    return Ok(false);
                }
                return Err(error);
            }
        };
        self.found.files += 1;
        self.found.bytes += size;
        let own = hashes.first().map(|hash| hex::encode(hash.clone().finalize()));
        let mut is_right = true;
        let mut seen = BTreeSet::new();
        for used in uses {
            let location = used.location();
            if !seen.insert(location.to_string()) {
                continue;
            }
            if used.file.size != size {
                is_right = false;
                // Reading ends where it is too long.
                let more = if size > expected { "more than " } else { "" };
                let (found, wanted) = (size.min(expected), used.file.size);
                let problem = format!("{path} has {more}{found} bytes instead of {wanted}");
                self.problem(location, problem);
                continue;
            }
            if let (Some(own), Some(wanted)) = (&own, &used.file.sha256)
                && !own.eq_ignore_ascii_case(wanted)
            {
                is_right = false;
                let problem = format!("the SHA-256 of {path} is {own} instead of {wanted}");
                self.problem(location, problem);
            }
        }
        // Do not report the same problem twice.
        Ok(is_right)
    }

    /// Reads a file, at least until it has more than the expected number of bytes. Returns the number
    /// of bytes read.
    async fn read(
        &mut self,
        path: &str,
        hashes: &mut [Sha256],
        expected: u64,
    ) -> Result<u64, StreamsError> {
        let (_, mut chunks) = self.source.open(path).await?;
        let mut size = 0;
        while size <= expected
            && let Some(chunk) = chunks.try_next().await?
        {
            for hash in hashes.iter_mut() {
                hash.update(&chunk);
            }
            size += chunk.len() as u64;
            (self.progress)(path, size);
        }
        Ok(size)
    }
}

fn locations(uses: &[Use<'_>]) -> Vec<Location> {
    let mut locations: Vec<Location> = Vec::new();
    for used in uses {
        let location = used.location();
        if !locations.contains(&location) {
            locations.push(location);
        }
    }
    locations
}

/// Returns the description of a missing file.
fn absent(error: &StreamsError) -> Option<String> {
    match error {
        StreamsError::ReadFile { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Some("does not exist".to_owned())
        }
        StreamsError::ReadFile { source, .. } => Some(format!("cannot be read: {source}")),
        StreamsError::Status { status, .. } => {
            Some(format!("cannot be downloaded: the server returned status {status}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
