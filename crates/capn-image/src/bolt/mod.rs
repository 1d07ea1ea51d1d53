//! containerd's database made the same for the same contents.
//!
//! containerd keeps what it knows of images and snapshots in files of
//! [bbolt](https://github.com/etcd-io/bbolt), whose `page.go`, `bucket.go` and `db.go` are the
//! source of the format here. Such a file holds times, leftovers of what was deleted, and pages in
//! the order in which they were needed. [`settle`] writes it anew: what is in it now, in the order
//! of the keys, with all times set to one.

mod read;
mod write;

use std::collections::BTreeMap;

use thiserror::Error;

/// Bytes of a page's header.
const PAGE_HEADER: usize = 16;
/// Bytes of one element of a page.
const ELEMENT: usize = 16;
/// Bytes of a bucket's header.
const BUCKET_HEADER: usize = 16;
/// First four bytes of a meta page, after its header.
const MAGIC: u32 = 0xED0C_DAED;
/// The one version of the format.
const VERSION: u32 = 2;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;
/// Flag of a leaf's element that is a bucket.
const IS_BUCKET: u32 = 0x01;

/// Keys under which containerd keeps times.
const TIMES: [&[u8]; 2] = [b"createdat", b"updatedat"];
/// Bytes of a time, as Go's `time.Time.MarshalBinary` writes it without seconds in the offset.
const TIME_BYTES: usize = 15;
/// Seconds from the year 1 to 1970.
const UNIX_EPOCH_SECONDS: i64 = 62_135_596_800;

/// What is wrong with a database.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum BoltError {
    /// It is not one, or was not closed.
    #[error("there is no valid meta page: not a bbolt database of version 2")]
    NoMeta,
    /// It ends before its end, or leads in a circle.
    #[error("page {page} is damaged: {problem}")]
    Damaged {
        /// Number of the page.
        page: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Value(Vec<u8>),
    Bucket(Bucket),
}

/// Keys and what they lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bucket {
    /// The last number that was given out in it.
    sequence: u64,
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Bucket {
    fn settle(&mut self, time: &[u8; TIME_BYTES]) {
        for (key, entry) in &mut self.entries {
            match entry {
                Entry::Bucket(bucket) => bucket.settle(time),
                Entry::Value(value) => {
                    if TIMES.contains(&key.as_slice()) && value.len() == TIME_BYTES {
                        value.copy_from_slice(time);
                    }
                }
            }
        }
    }
}

/// The database `old` written anew, with all times of containerd set to `epoch`, in seconds since
/// 1970.
///
/// # Errors
///
/// When `old` is not a whole database.
pub(crate) fn settle(old: &[u8], epoch: i64) -> Result<Vec<u8>, BoltError> {
    let (mut root, page_size) = read::database(old)?;
    root.settle(&time(epoch));
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
