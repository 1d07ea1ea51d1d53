//! Parsing of a database.

use super::{
    BRANCH, BUCKET_HEADER, BoltError, Bucket, ELEMENT, Entry, IS_BUCKET, LEAF, MAGIC, META,
    PAGE_HEADER, VERSION, checksum,
};

/// More levels than in any real database; a cycle exceeds it.
const MAX_DEPTH: usize = 64;

/// Offsets in a meta page, after the page header.
mod meta {
    pub(super) const VERSION: usize = 4;
    pub(super) const PAGE_SIZE: usize = 8;
    pub(super) const ROOT_PAGE: usize = 16;
    pub(super) const ROOT_SEQUENCE: usize = 24;
    pub(super) const TRANSACTION: usize = 48;
    pub(super) const CHECKSUM: usize = 56;
}

/// Reads the root bucket, and the page size in bytes.
pub(super) fn database(bytes: &[u8]) -> Result<(Bucket, usize), BoltError> {
    // The second meta page is one page further, but only the first one has the page size. A
    // database with a damaged first page is not repaired.
    let first = Meta::read(bytes, 0);
    let page_size = first.as_ref().map_or(4096, |meta| meta.page_size);
    let second = Meta::read(bytes, page_size);
    let newest = [first, second].into_iter().flatten().max_by_key(|meta| meta.transaction);
    let meta = newest.ok_or(BoltError::NoMeta)?;
    let mut root = Bucket { sequence: meta.sequence, ..Bucket::default() };
    Pages { bytes, size: meta.page_size }.tree(meta.root, 0, &mut root)?;
    Ok((root, meta.page_size))
}

struct Meta {
    page_size: usize,
    root: u64,
    sequence: u64,
    transaction: u64,
}

impl Meta {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let page = bytes.get(at..)?;
        let meta = page.get(PAGE_HEADER..)?;
        let valid = u16_at(page, 8)? & META != 0
            && u32_at(meta, 0)? == MAGIC
            && u32_at(meta, meta::VERSION)? == VERSION
            && u64_at(meta, meta::CHECKSUM)? == checksum(meta.get(..meta::CHECKSUM)?);
        valid.then_some(())?;
        Some(Self {
            page_size: usize::try_from(u32_at(meta, meta::PAGE_SIZE)?).ok()?,
            root: u64_at(meta, meta::ROOT_PAGE)?,
            sequence: u64_at(meta, meta::ROOT_SEQUENCE)?,
            transaction: u64_at(meta, meta::TRANSACTION)?,
        })
    }
}

struct Pages<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl Pages<'_> {
    /// Adds the content of a page and the pages below it.
    fn tree(&self, number: u64, depth: usize, into: &mut Bucket) -> Result<(), BoltError> {
        let damaged = |problem| BoltError::Damaged { page: number, problem };
        if depth > MAX_DEPTH {
            return Err(damaged("it is part of a cycle"));
        }
        let start = usize::try_from(number).ok().and_then(|number| number.checked_mul(self.size));
        let page = start
            .and_then(|start| self.bytes.get(start..))
            .ok_or_else(|| damaged("it is beyond the end of the file"))?;
        self.page(page, number, depth, into)
    }

    fn page(
        &self,
        page: &[u8],
        number: u64,
        depth: usize,
        into: &mut Bucket,
    ) -> Result<(), BoltError> {
        let damaged = |problem| BoltError::Damaged { page: number, problem };
        let cut = || damaged("an element extends beyond the end");
        let flags = u16_at(page, 8).ok_or_else(cut)?;
        let count = usize::from(u16_at(page, 10).ok_or_else(cut)?);
        for index in 0..count {
            let element = page.get(PAGE_HEADER + index * ELEMENT..).ok_or_else(cut)?;
            match flags {
                BRANCH => {
                    let below = u64_at(element, 8).ok_or_else(cut)?;
                    self.tree(below, depth + 1, into)?;
                }
                LEAF => {
                    let (kind, key, value) = leaf(element).ok_or_else(cut)?;
                    let entry = match kind & IS_BUCKET {
                        0 => Entry::Value(value.to_vec()),
                        _ => Entry::Bucket(self.bucket(value, number, depth)?),
                    };
                    into.entries.insert(key.to_vec(), entry);
                }
                _ => return Err(damaged("it is neither a branch nor a leaf")),
            }
        }
        Ok(())
    }

    fn bucket(&self, value: &[u8], number: u64, depth: usize) -> Result<Bucket, BoltError> {
        let cut = || BoltError::Damaged { page: number, problem: "a bucket has no header" };
        let root = u64_at(value, 0).ok_or_else(cut)?;
        let mut bucket =
            Bucket { sequence: u64_at(value, 8).ok_or_else(cut)?, ..Bucket::default() };
        match root {
            // A small bucket is stored inline in its value.
            0 => {
                let page = value.get(BUCKET_HEADER..).ok_or_else(cut)?;
                self.page(page, number, depth + 1, &mut bucket)?;
            }
            root => self.tree(root, depth + 1, &mut bucket)?,
        }
        Ok(bucket)
    }
}

/// Flags, key and value of a leaf element.
fn leaf(element: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let at = |offset| u32_at(element, offset).and_then(|n| usize::try_from(n).ok());
    let (position, key, value) = (at(4)?, at(8)?, at(12)?);
    let data = element.get(position..)?;
    Some((u32_at(element, 0)?, data.get(..key)?, data.get(key..)?.get(..value)?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|found| u16::from_le_bytes(*found))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|found| u32::from_le_bytes(*found))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|found| u64::from_le_bytes(*found))
}
