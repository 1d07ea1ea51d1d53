//! The file: a compressed archive whose files, and all of them together, are bounded.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Most bytes of one file; of a longer one the end is kept.
const FILE: usize = 2 << 20;
/// Most bytes of all files together.
const ALL: usize = 64 << 20;

/// An archive that is being made, in memory.
pub(super) struct Archive {
    tar: tar::Builder<GzEncoder<Vec<u8>>>,
    /// The folder that all files are in.
    folder: String,
    seconds: u64,
    left: usize,
    /// What is missing, and why.
    notes: Vec<String>,
}

impl Archive {
    /// An empty one, whose files are in a folder and of this time.
    pub(super) fn new(folder: &str, seconds: u64) -> Self {
        let tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        Self { tar, folder: folder.to_owned(), seconds, left: ALL, notes: Vec::new() }
    }

    /// Says that something is missing.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// How many things are missing.
    pub(super) fn missing(&self) -> usize {
        self.notes.len()
    }

    /// Adds a file, unless it is empty.
    pub(super) fn add(&mut self, path: &str, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let kept = end_of(text, FILE);
        if kept.len() < text.len() {
            self.notes.push(format!("{path}: only the end of {} bytes", text.len()));
        }
        if kept.len() > self.left {
            self.notes.push(format!("{path}: left out, the bundle is full"));
            return Ok(());
        }
        self.left -= kept.len();
        self.write(path, kept)
    }

    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap_or(0));
        header.set_mode(0o600);
        header.set_mtime(self.seconds);
        self.tar.append_data(&mut header, format!("{}/{}", self.folder, path), text.as_bytes())
    }

    /// The whole, with a list of what is missing.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        let notes = match self.notes.is_empty() {
            true => "nothing\n".to_owned(),
            false => self.notes.iter().map(|note| format!("{note}\n")).collect(),
        };
        self.write("missing.txt", end_of(&notes, FILE))?;
        let mut compressed = self.tar.into_inner()?;
        compressed.flush()?;
        compressed.finish()
    }
}

/// The end of a text, at most so many bytes of it, from the beginning of a line on where there is one.
fn end_of(text: &str, most: usize) -> &str {
    let Some(mut from) = text.len().checked_sub(most) else { return text };
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let end = &text[from..];
    match end.find('\n') {
        Some(line) if from > 0 => &end[line + 1..],
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn read(bytes: &[u8]) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(GzDecoder::new(bytes));
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            assert_eq!(entry.header().mode().unwrap(), 0o600, "{path}");
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            files.insert(path, text);
        }
        files
    }

    #[test]
    fn files_are_in_one_folder_with_a_list_of_what_is_missing() {
        let mut archive = Archive::new("demo", 1);
        archive.add("a/b.log", "text").unwrap();
        archive.add("empty.log", "").unwrap();
        archive.note("machine `m` does not answer");
        let files = read(&archive.finish().unwrap());
        assert_eq!(files["demo/a/b.log"], "text");
        assert_eq!(files["demo/missing.txt"], "machine `m` does not answer\n");
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn of_a_long_file_the_end_is_kept_and_a_full_bundle_takes_no_more() {
        let mut archive = Archive::new("demo", 1);
        let long = format!("{}\nlast\n", "x".repeat(FILE));
        archive.add("long.log", &long).unwrap();
        let half = "y\n".repeat(FILE / 2);
        for number in 0..(ALL / FILE + 3) {
            archive.add(&format!("{number}.log"), &half).unwrap();
        }
        let files = read(&archive.finish().unwrap());
        assert_eq!(files["demo/long.log"], "last\n");
        let size: usize = files.values().map(String::len).sum();
        assert!(size <= ALL + FILE, "{size}");
        let missing = &files["demo/missing.txt"];
        assert!(missing.contains("long.log: only the end"), "{missing}");
        assert!(missing.contains("34.log: left out, the bundle is full"), "{missing}");
    }

    #[test]
    fn the_end_of_a_text_begins_with_a_line() {
        assert_eq!(end_of("ab", 2), "ab");
        assert_eq!(end_of("a\nbc\nd", 4), "d");
        assert_eq!(end_of("äöü", 3), "ü");
    }
}
