//! Headers of `/1.0/instances/NAME/files`.
//!
//! Incus uses `X-Incus-…`, LXD `X-LXD-…`. Both are sent, and either is accepted.

/// Kind of a path in an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl FileKind {
    /// Returns the value of the `type` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
        }
    }
}

/// Owner, mode and kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeaders {
    /// File, directory or link.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

const PREFIXES: [&str; 2] = ["X-Incus-", "X-LXD-"];

impl FileHeaders {
    /// Returns the headers to send, for both servers.
    #[must_use]
    pub fn to_headers(self) -> Vec<(String, String)> {
        let mut fields = vec![("type", self.kind.as_str().to_owned())];
        if self.kind == FileKind::File {
            fields.push(("write", "overwrite".to_owned()));
        }
        fields.extend(self.mode.map(|mode| ("mode", format!("{mode:04o}"))));
        fields.extend(self.uid.map(|uid| ("uid", uid.to_string())));
        fields.extend(self.gid.map(|gid| ("gid", gid.to_string())));
        PREFIXES
            .iter()
            .flat_map(|prefix| fields.iter().map(move |(k, v)| (format!("{prefix}{k}"), v.clone())))
            .collect()
    }

    /// Reads the headers of a response; `get` looks one up case-insensitively.
    ///
    /// Without a `type` the path is a file. An owner or mode that is not a number is ignored.
    #[must_use]
    pub fn from_headers<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let field = |name: &str| PREFIXES.iter().find_map(|prefix| get(&format!("{prefix}{name}")));
        let kind = match field("type") {
            Some("directory") => FileKind::Directory,
            Some("symlink") => FileKind::Symlink,
            _ => FileKind::File,
        };
        Self {
            kind,
            mode: field("mode").and_then(|v| u32::from_str_radix(v, 8).ok()),
            uid: field("uid").and_then(|v| v.parse().ok()),
            gid: field("gid").and_then(|v| v.parse().ok()),
        }
    }
}
