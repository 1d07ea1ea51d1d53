//! Serialization of a database.

use super::{
    BRANCH, Bucket, ELEMENT, Entry, FREELIST, IS_BUCKET, LEAF, MAGIC, META, PAGE_HEADER, VERSION,
    checksum,
};

/// Two meta pages and the free list.
const FIRST_PAGES: usize = 3;
const FREELIST_PAGE: u64 = 2;

/// Writes a database with pages of `page_size` bytes.
pub(super) fn database(root: &Bucket, page_size: usize) -> Vec<u8> {
    let mut file = File { bytes: vec![0; FIRST_PAGES * page_size], page_size };
    let root_page = file.bucket(root);
    let pages = file.bytes.len() / page_size;
    file.put(0, &meta(0, page_size, root_page, root.sequence, pages));
    file.put(1, &meta(1, page_size, root_page, root.sequence, pages));
    file.put(2, &page_header(FREELIST_PAGE, FREELIST, 0, 0));
    file.bytes
}

/// A database that is being written.
struct File {
    bytes: Vec<u8>,
    page_size: usize,
}

/// One element of a page.
struct Element {
    flags: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Element {
    fn size(&self) -> usize {
        ELEMENT + self.key.len() + self.value.len()
    }
}

impl File {
    /// Writes a bucket and its nested buckets, and returns its first page.
    fn bucket(&mut self, bucket: &Bucket) -> u64 {
        let elements = self.elements(bucket);
        let mut level = Vec::new();
        for group in self.groups(elements) {
            let first = group.first().map(|element| element.key.clone()).unwrap_or_default();
            let page = self.leaf(&group);
            level.push((first, page));
        }
        while level.len() > 1 {
            level = self.branches(level);
        }
        level.first().map(|(_, page)| *page).unwrap_or_else(|| self.leaf(&[]))
    }

    fn elements(&mut self, bucket: &Bucket) -> Vec<Element> {
        let mut elements = Vec::with_capacity(bucket.entries.len());
        for (key, entry) in &bucket.entries {
            let (flags, value) = match entry {
                Entry::Value(value) => (0, value.clone()),
                Entry::Bucket(below) => (IS_BUCKET, self.bucket_value(below)),
            };
            elements.push(Element { flags, key: key.clone(), value });
        }
        elements
    }

    /// Returns the value of a nested bucket: the bucket itself if it is small and has no nested
    /// buckets.
    fn bucket_value(&mut self, bucket: &Bucket) -> Vec<u8> {
        let has_buckets = bucket.entries.values().any(|entry| matches!(entry, Entry::Bucket(_)));
        let elements = if has_buckets { Vec::new() } else { self.elements(bucket) };
        let size = PAGE_HEADER + elements.iter().map(Element::size).sum::<usize>();
        let (root, inline) = match has_buckets || size > self.page_size / 4 {
            true => (self.bucket(bucket), Vec::new()),
            false => (0, leaf_page(0, 0, &elements)),
        };
        let mut value = root.to_le_bytes().to_vec();
        value.extend(bucket.sequence.to_le_bytes());
        value.extend(inline);
        value
    }

    /// Splits elements into groups that fill a page; a larger element is alone.
    fn groups(&self, elements: Vec<Element>) -> Vec<Vec<Element>> {
        let mut groups: Vec<Vec<Element>> = Vec::new();
        let mut used = usize::MAX;
        for element in elements {
            used = used.saturating_add(element.size());
            match groups.last_mut().filter(|_| used <= self.page_size) {
                Some(group) => group.push(element),
                None => {
                    used = PAGE_HEADER + element.size();
                    groups.push(vec![element]);
                }
            }
        }
        groups
    }

    fn leaf(&mut self, elements: &[Element]) -> u64 {
        let size = PAGE_HEADER + elements.iter().map(Element::size).sum::<usize>();
        let overflow = size.div_ceil(self.page_size).saturating_sub(1);
        let number = self.next_page();
        let page = leaf_page(number, to_u32(overflow), elements);
        self.append(&page);
        number
    }

    /// Writes the branch pages above a level, and returns their first keys and page numbers.
    fn branches(&mut self, level: Vec<(Vec<u8>, u64)>) -> Vec<(Vec<u8>, u64)> {
        let elements = level.into_iter().map(|(key, page)| Element {
            flags: 0,
            key,
            value: page.to_le_bytes().to_vec(),
        });
        let mut above = Vec::new();
        for group in self.groups(elements.collect()) {
            let number = self.next_page();
            let size = PAGE_HEADER + group.iter().map(Element::size).sum::<usize>();
            let overflow = size.div_ceil(self.page_size).saturating_sub(1);
            let mut page = page_header(number, BRANCH, group.len(), to_u32(overflow));
            let mut data: Vec<u8> = Vec::new();
            for (index, element) in group.iter().enumerate() {
                let position = (group.len() - index) * ELEMENT + data.len();
                page.extend(to_u32(position).to_le_bytes());
                page.extend(to_u32(element.key.len()).to_le_bytes());
                page.extend(&element.value);
                data.extend(&element.key);
            }
            page.extend(data);
            self.append(&page);
            let first = group.into_iter().next().map(|element| element.key).unwrap_or_default();
            above.push((first, number));
        }
        above
    }

    fn next_page(&self) -> u64 {
        (self.bytes.len() / self.page_size) as u64
    }

    fn append(&mut self, page: &[u8]) {
        self.bytes.extend(page);
        let whole = self.bytes.len().next_multiple_of(self.page_size);
        self.bytes.resize(whole, 0);
    }

    fn put(&mut self, page: usize, content: &[u8]) {
        let rest = self.bytes.iter_mut().skip(page * self.page_size);
        rest.zip(content).for_each(|(byte, new)| *byte = *new);
    }
}

fn leaf_page(number: u64, overflow: u32, elements: &[Element]) -> Vec<u8> {
    let mut page = page_header(number, LEAF, elements.len(), overflow);
    let mut data: Vec<u8> = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        // Positions are relative to the element itself.
        let position = (elements.len() - index) * ELEMENT + data.len();
        page.extend(element.flags.to_le_bytes());
        page.extend(to_u32(position).to_le_bytes());
        page.extend(to_u32(element.key.len()).to_le_bytes());
        page.extend(to_u32(element.value.len()).to_le_bytes());
        data.extend(&element.key);
        data.extend(&element.value);
    }
    page.extend(data);
    page
}

fn page_header(number: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let mut header = number.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    // A page of elements of at least 16 bytes has far fewer than 65,535.
    header.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
    header.extend(overflow.to_le_bytes());
    header
}

fn meta(number: u64, page_size: usize, root: u64, sequence: u64, pages: usize) -> Vec<u8> {
    let mut meta = MAGIC.to_le_bytes().to_vec();
    meta.extend(VERSION.to_le_bytes());
    meta.extend(to_u32(page_size).to_le_bytes());
    meta.extend(0_u32.to_le_bytes());
    meta.extend(root.to_le_bytes());
    meta.extend(sequence.to_le_bytes());
    meta.extend(FREELIST_PAGE.to_le_bytes());
    meta.extend((pages as u64).to_le_bytes());
    // The transaction number tells which of the two meta pages is newer.
    meta.extend(number.to_le_bytes());
    meta.extend(checksum(&meta).to_le_bytes());
    let mut page = page_header(number, META, 0, 0);
    page.extend(meta);
    page
}

/// Converts a size within a file of some megabytes.
fn to_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
