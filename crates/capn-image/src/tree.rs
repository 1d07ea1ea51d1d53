//! A root file system spread over directories, in which upper directories hide lower ones.

use std::{collections::BTreeMap, io};

use camino::{Utf8Path, Utf8PathBuf};

/// The directories of a root file system, uppermost first. Only for files that packages install: a
/// file that an upper directory deletes is still found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(Vec<Utf8PathBuf>);

impl Tree {
    /// Combines directories, uppermost first.
    pub(crate) fn new(directories: Vec<Utf8PathBuf>) -> Self {
        Self(directories)
    }

    /// Finds the file at a path without following a final symlink. The path may begin with a slash,
    /// and may use the symlinks of a merged /usr.
    pub(crate) fn find(&self, path: &str) -> Option<Utf8PathBuf> {
        let path = path.trim_start_matches('/');
        let merged = format!("usr/{path}");
        self.0
            .iter()
            .flat_map(|directory| [directory.join(path), directory.join(&merged)])
            .find(|found| found.symlink_metadata().is_ok())
    }

    /// Returns the path of a file within the root file system, with a leading slash.
    pub(crate) fn path_inside(&self, file: &Utf8Path) -> Option<String> {
        let inside = self.0.iter().find_map(|directory| file.strip_prefix(directory).ok())?;
        Some(format!("/{inside}"))
    }

    /// Entries of a directory by name, merged from all directories.
    pub(crate) fn list(&self, path: &str) -> io::Result<BTreeMap<String, Utf8PathBuf>> {
        let mut entries = BTreeMap::new();
        for directory in
            self.0.iter().map(|directory| directory.join(path)).filter(|found| found.is_dir())
        {
            for entry in directory.read_dir_utf8()? {
                let entry = entry?;
                entries
                    .entry(entry.file_name().to_owned())
                    .or_insert_with(|| entry.path().to_owned());
            }
        }
        Ok(entries)
    }

    /// Resolves a path as a process inside would, without a leading slash. The last segment may be
    /// a symlink, other segments may not.
    pub(crate) fn resolve(&self, path: &str) -> io::Result<String> {
        let mut path = path.trim_start_matches('/').to_owned();
        for _ in 0..16 {
            let found = self
                .find(&path)
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no {path}")))?;
            if !found.symlink_metadata()?.file_type().is_symlink() {
                return Ok(path);
            }
            let target = found.read_link_utf8()?;
            path = match target.as_str().strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None => {
                    let parent = Utf8Path::new(&path).parent().unwrap_or(Utf8Path::new(""));
                    normalize(&parent.join(target))
                }
            };
        }
        Err(io::Error::other(format!("too many levels of symbolic links at {path}")))
    }
}

fn normalize(path: &Utf8Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.as_str().split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_directories_hide_lower_ones_and_links_stay_inside() {
        let held = tempfile::tempdir().unwrap();
        let at = Utf8Path::from_path(held.path()).unwrap();
        let (upper, lower) = (at.join("upper"), at.join("lower"));
        for directory in ["usr/sbin", "etc/alternatives", "usr/lib/x"] {
            std::fs::create_dir_all(upper.join(directory)).unwrap();
            std::fs::create_dir_all(lower.join(directory)).unwrap();
        }
        for (path, text) in [("usr/lib/x/a", "upper"), ("usr/sbin/multi", "program")] {
            std::fs::write(upper.join(path), text).unwrap();
        }
        for (path, text) in [("usr/lib/x/a", "lower"), ("usr/lib/x/b", "lower")] {
            std::fs::write(lower.join(path), text).unwrap();
        }
        let link = |target: &str, path: Utf8PathBuf| {
            std::os::unix::fs::symlink(target, path).unwrap();
        };
        link("/etc/alternatives/iptables", lower.join("usr/sbin/iptables"));
        link("../../usr/sbin/multi", lower.join("etc/alternatives/iptables"));
        link("loop", lower.join("usr/sbin/loop"));

        let tree = Tree::new(vec![upper.clone(), lower.clone()]);
        assert_eq!(tree.resolve("/usr/sbin/iptables").unwrap(), "usr/sbin/multi");
        assert!(tree.resolve("usr/sbin/loop").is_err());
        assert!(tree.resolve("usr/sbin/none").is_err());
        assert_eq!(tree.find("/lib/x/a"), Some(upper.join("usr/lib/x/a")));
        assert_eq!(tree.path_inside(&lower.join("usr/lib/x/b")).unwrap(), "/usr/lib/x/b");
        assert_eq!(tree.path_inside(Utf8Path::new("/usr/lib/x/b")), None);
        let list = tree.list("usr/lib/x").unwrap();
        assert_eq!(list["a"], upper.join("usr/lib/x/a"));
        assert_eq!(list["b"], lower.join("usr/lib/x/b"));
    }
}
