//! Bundle file: a compressed archive with a size limit per file and in total.

use std::collections::HashSet;
use std::io::{self, Write as _};

use capn_text::display;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Maximum size of one file in bytes; of a longer file, the end is kept.
const FILE: usize = 2 << 20;
/// Maximum total size in bytes.
const ALL: usize = 64 << 20;
/// Maximum length of a file name: Kubernetes allows 253 characters, and the ending.
const NAME: usize = 280;

/// An archive under construction, in memory.
pub(super) struct Archive {
    tar: tar::Builder<GzEncoder<Vec<u8>>>,
    /// Directory inside the archive that contains all files.
    dir: String,
    seconds: u64,
    left: usize,
    /// What is missing, and why.
    notes: Vec<String>,
    /// Paths of the files.
    paths: HashSet<String>,
}

impl Archive {
    /// Creates an empty archive. All files get this directory and timestamp.
    pub(super) fn new(dir: &str, seconds: u64) -> Self {
        let tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        Self {
            tar,
            dir: dir.to_owned(),
            seconds,
            left: ALL,
            notes: Vec::new(),
            paths: HashSet::new(),
        }
    }

    /// Notes that something is missing.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Returns the number of missing items.
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
            self.notes.push(format!("{path}: truncated to the end of {} bytes", text.len()));
        }
        if kept.len() > self.left {
            self.notes.push(format!("{path}: omitted, the bundle is full"));
            return Ok(());
        }
        self.left -= kept.len();
        self.write(path, kept)
    }

    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        let path = self.unused(path);
        let text = display::text(text, FILE + ALL);
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap_or(0));
        header.set_mode(0o600);
        header.set_mtime(self.seconds);
        self.tar.append_data(&mut header, format!("{}/{}", self.dir, path), text.as_bytes())
    }

    /// Returns a path in the archive. Names in it come from nodes and servers: what is not a file
    /// name becomes one.
    fn unused(&mut self, path: &str) -> String {
        let safe: Vec<String> = path.split('/').map(file_name).collect();
        let safe = safe.join("/");
        let mut path = safe.clone();
        let mut number = 1;
        while !self.paths.insert(path.clone()) {
            number += 1;
            path = format!("{safe}-{number}");
        }
        path
    }

    /// Finishes the archive and adds the list of missing items.
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

/// Replaces everything but letters, digits, `.`, `_` and `-`, and cuts long names.
fn file_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain = name.chars().take(NAME).map(|c| if is_plain(c) { c } else { '_' });
    let plain: String = plain.collect();
    match plain.trim_matches('.').is_empty() {
        true => "_".to_owned(),
        false => plain,
    }
}

/// Returns the end of a text with at most this many bytes, starting at the beginning of a line if
/// possible.
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
    fn files_are_in_one_directory_with_a_list_of_what_is_missing() {
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
    fn names_of_nodes_are_made_file_names() {
        let mut archive = Archive::new("demo", 1);
        for name in ["../../../tmp/evil", "..", "", "a\u{1b}[31m", "n\nfake", "n_fake", "ok.a-b_c"]
        {
            archive.add(&format!("nodes/{name}"), "\u{1b}[2Jtext\n").unwrap();
        }
        archive.add(&format!("nodes/{}", "x".repeat(5000)), "text").unwrap();
        let files = read(&archive.finish().unwrap());
        let names: Vec<&str> = files.keys().map(|name| &name[..name.len().min(40)]).collect();
        assert_eq!(
            names,
            [
                "demo/missing.txt",
                "demo/nodes/_",
                "demo/nodes/_-2",
                "demo/nodes/_/_/_/tmp/evil",
                "demo/nodes/a__31m",
                "demo/nodes/n_fake",
                "demo/nodes/n_fake-2",
                "demo/nodes/ok.a-b_c",
                "demo/nodes/xxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            ]
        );
        assert_eq!(files["demo/nodes/ok.a-b_c"], "\u{fffd}[2Jtext\n");
    }

    #[test]
    fn long_files_keep_their_end_and_a_full_bundle_accepts_no_more() {
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
        assert!(missing.contains("long.log: truncated to the end"), "{missing}");
        assert!(missing.contains("34.log: omitted, the bundle is full"), "{missing}");
    }

    #[test]
    fn the_end_of_a_text_begins_with_a_line() {
        assert_eq!(end_of("ab", 2), "ab");
        assert_eq!(end_of("a\nbc\nd", 4), "d");
        assert_eq!(end_of("äöü", 3), "ü");
    }
}
