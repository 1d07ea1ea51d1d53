//! Reproducible containerd databases: the same content yields the same bytes.
//!
//! containerd stores its metadata of images and snapshots in files of
//! [bbolt](https://github.com/etcd-io/bbolt), whose `page.go`, `bucket.go` and `db.go` define the
//! format. Such a file contains timestamps, remains of deleted data, and pages in the order of
//! their allocation. [`normalize`] rewrites it with its current content in key order and with all
//! timestamps set to one value.

mod read;
mod write;

use std::collections::BTreeMap;

use thiserror::Error;

/// Size of a page header, in bytes.
const PAGE_HEADER: usize = 16;
/// Size of a page element, in bytes.
const ELEMENT: usize = 16;
/// Size of a bucket header, in bytes.
const BUCKET_HEADER: usize = 16;
/// First four bytes of a meta page, after its header.
const MAGIC: u32 = 0xED0C_DAED;
/// The only version of the format.
const VERSION: u32 = 2;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;
/// Flag of a leaf element that is a bucket.
const IS_BUCKET: u32 = 0x01;

/// Keys of timestamps in containerd.
const TIMES: [&[u8]; 2] = [b"createdat", b"updatedat"];
/// Size of a timestamp, as written by Go's `time.Time.MarshalBinary` without seconds in the offset.
const TIME_BYTES: usize = 15;
/// Seconds from the year 1 to 1970.
const UNIX_EPOCH_SECONDS: i64 = 62_135_596_800;

/// Error of a database.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum BoltError {
    /// It is not a database, or was not closed.
    #[error("the file has no valid meta page: it is not a bbolt database of version 2")]
    NoMeta,
    /// It is truncated, or has a cycle.
    #[error("page {page} is damaged: {problem}")]
    Damaged {
        /// Number of the page.
        page: u64,
        /// Problem.
        problem: &'static str,
    },
}

/// Value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Value(Vec<u8>),
    Bucket(Bucket),
}

/// Keys and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bucket {
    /// The last sequence number of the bucket.
    sequence: u64,
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Bucket {
    fn normalize(&mut self, time: &[u8; TIME_BYTES]) {
        for (key, entry) in &mut self.entries {
            match entry {
                Entry::Bucket(bucket) => bucket.normalize(time),
                Entry::Value(value) => {
                    if TIMES.contains(&key.as_slice()) && value.len() == TIME_BYTES {
                        value.copy_from_slice(time);
                    }
                }
            }
        }
    }
}

/// Rewrites a database with all timestamps of containerd set to `epoch`, in seconds since 1970.
///
/// # Errors
///
/// [`BoltError`] when `old` is not a complete database.
pub(crate) fn normalize(old: &[u8], epoch: i64) -> Result<Vec<u8>, BoltError> {
    let (mut root, page_size) = read::database(old)?;
    root.normalize(&time(epoch));
    Ok(write::database(&root, page_size))
}

fn time(epoch: i64) -> [u8; TIME_BYTES] {
    let mut bytes = [0; TIME_BYTES];
    let (version, rest) = bytes.split_at_mut(1);
    version.fill(1);
    let (seconds, rest) = rest.split_at_mut(8);
    seconds.copy_from_slice(&(epoch + UNIX_EPOCH_SECONDS).to_be_bytes());
    // No nanoseconds, then the offset in minutes: -1 is UTC.
    let (_, offset) = rest.split_at_mut(4);
    offset.copy_from_slice(&(-1_i16).to_be_bytes());
    bytes
}

/// FNV-1a, 64 bits: the checksum of a meta page.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
