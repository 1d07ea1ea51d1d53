//! Comparing every file of a tree with what its documents say.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::StreamsError;
use super::images::{File, Image};
use super::load::Streams;
use super::problem::{Place, Problem};
use super::source::Source;

/// What came out of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Images in the documents.
    pub images: usize,
    /// Files that were read.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Everything that is wrong; empty when the tree holds.
    pub problems: Vec<Problem>,
}

/// Which images need a file.
struct Use<'a> {
    image: &'a Image,
    file: &'a File,
}

impl Use<'_> {
    fn place(&self) -> Place {
        Place::item(&self.image.product, &self.image.version, &self.file.item)
    }
}

/// Reads every file of every image once: it is there, has its size, its hash, and together with
/// its metadata the fingerprint.
///
/// Holds one piece of a file at a time. `progress` is told each file and the bytes read of it.
///
/// # Errors
///
/// When the server cannot be reached at all; a file that is absent or different is a problem.
pub async fn verify(
    source: &Source,
    streams: &Streams,
    progress: &mut (dyn FnMut(&str, u64) + Send),
) -> Result<Verified, StreamsError> {
    let mut checking = Checking { source, progress, found: Verified::default() };
    checking.found.images = streams.images.len();
    checking.found.problems.clone_from(&streams.problems);
    checking.index(streams);

    let mut metadata: BTreeMap<&str, Vec<Use<'_>>> = BTreeMap::new();
    let mut roots: BTreeMap<&str, Vec<Use<'_>>> = BTreeMap::new();
    for image in &streams.images {
        let file = &image.metadata;
        metadata.entry(&file.path).or_default().push(Use { image, file });
        if let Some(file) = &image.root {
            roots.entry(&file.path).or_default().push(Use { image, file });
        }
    }
    // The hash of an image goes on from that of its metadata, so that no file is read twice.
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
    /// Servers do not look into a document whose products the index does not list.
    fn index(&mut self, streams: &Streams) {
        for (path, document) in &streams.documents {
            let entry = streams.index.index.values().find(|entry| entry.path == *path);
            let listed = entry.map(|entry| entry.products.as_slice()).unwrap_or_default();
            for key in document.products.keys().filter(|key| !listed.contains(key)) {
                self.problem(Place::product(key), "is not in the index".to_owned());
            }
        }
    }

    fn problem(&mut self, place: Place, problem: String) {
        self.found.problems.push(Problem { place, problem });
    }

    fn fingerprint(&mut self, used: &Use<'_>, found: &str) {
        if !found.eq_ignore_ascii_case(&used.image.fingerprint) {
            let problem = format!(
                "the files together have the SHA-256 {found}, not {} as the metadata item says",
                used.image.fingerprint
            );
            self.problem(used.place(), problem);
        }
    }

    /// Reads a file into all hashes, of which the first is its own; whether it is what all say
    /// that use it.
    async fn file(
        &mut self,
        path: &str,
        uses: &[Use<'_>],
        hashes: &mut [Sha256],
    ) -> Result<bool, StreamsError> {
        let size = match self.read(path, hashes).await {
            Ok(size) => size,
            Err(error) => {
                if let Some(problem) = absent(&error) {
                    for place in places(uses) {
                        self.problem(place, format!("{path} {problem}"));
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
            let place = used.place();
            if !seen.insert(place.to_string()) {
                continue;
            }
            if used.file.size != size {
                is_right = false;
                let problem = format!("{path} has {size} bytes, not {}", used.file.size);
                self.problem(place, problem);
                continue;
            }
            if let (Some(own), Some(wanted)) = (&own, &used.file.sha256)
                && !own.eq_ignore_ascii_case(wanted)
            {
                is_right = false;
                let problem = format!("{path} has the SHA-256 {own}, not {wanted}");
                self.problem(place, problem);
            }
        }
        // What is wrong already would only be said once more.
        Ok(is_right)
    }

    async fn read(&mut self, path: &str, hashes: &mut [Sha256]) -> Result<u64, StreamsError> {
        let (_, mut pieces) = self.source.open(path).await?;
        let mut size = 0;
        while let Some(piece) = pieces.try_next().await? {
            for hash in hashes.iter_mut() {
                hash.update(&piece);
            }
            size += piece.len() as u64;
            (self.progress)(path, size);
        }
        Ok(size)
    }
}

fn places(uses: &[Use<'_>]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for used in uses {
        let place = used.place();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// What to say of a file that is not there.
fn absent(error: &StreamsError) -> Option<String> {
    match error {
        StreamsError::ReadFile { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Some("is not there".to_owned())
        }
        StreamsError::ReadFile { source, .. } => Some(format!("cannot be read: {source}")),
        StreamsError::Status { status, .. } => {
            Some(format!("cannot be had: the server says {status}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
