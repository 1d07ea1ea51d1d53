//! A directory with a container runtime: containerd, its shim, ctr, runc, and optionally crictl.

use camino::{Utf8Path, Utf8PathBuf};

use super::{BinariesError, Programs, directory::output};

/// Oldest maintained version: containerd 1.7 reached its end of life in September 2026
/// (containerd.io/releases), and a later kubelet drops support for its CRI (KEP-4033).
pub(crate) const OLDEST_CONTAINERD: [u32; 2] = [2, 0];
/// Oldest maintained version: runc 1.2 reached its end of life with 1.4 (RELEASES.md of runc: the
/// two newest minor versions).
pub(crate) const OLDEST_RUNC: [u32; 2] = [1, 3];

/// A directory with a container runtime, and its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDirectory {
    path: Utf8PathBuf,
    containerd: String,
    runc: String,
}

impl RuntimeDirectory {
    /// Checks that all files are in the directory, executable, and not too old.
    ///
    /// Runs its `containerd` and `runc` to get their versions.
    ///
    /// # Errors
    ///
    /// [`BinariesError::Incomplete`], [`BinariesError::Version`], [`BinariesError::TooOld`].
    pub async fn open(path: impl Into<Utf8PathBuf>) -> Result<Self, BinariesError> {
        let path = path.into();
        Programs::Runtime.check(&path)?;
        let containerd = version(&path.join("containerd"), OLDEST_CONTAINERD).await?;
        let runc = version(&path.join("runc"), OLDEST_RUNC).await?;
        Ok(Self { path, containerd, runc })
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Returns the version of containerd without `v`, e.g. `2.3.4`.
    pub fn containerd_version(&self) -> &str {
        &self.containerd
    }

    /// Returns the version of runc, e.g. `1.4.3`.
    pub fn runc_version(&self) -> &str {
        &self.runc
    }

    /// Names of all files for an image, sorted.
    pub(crate) fn programs(&self) -> Vec<&'static str> {
        Programs::Runtime.in_directory(&self.path)
    }
}

async fn version(program: &Utf8Path, oldest: [u32; 2]) -> Result<String, BinariesError> {
    let text = output(program, &["--version"]).await?;
    let found = parse_version(&text).ok_or_else(|| BinariesError::Version {
        path: program.to_owned(),
        source: std::io::Error::other(format!("it printed {text:?}")),
    })?;
    match is_at_least(&found, oldest) {
        true => Ok(found),
        false => Err(BinariesError::TooOld { path: program.to_owned(), found, oldest }),
    }
}

/// Returns the first word of the first line that is a version: `runc version 1.4.3`, or `containerd
/// github.com/containerd/containerd/v2 v2.3.4 5a8e2…`.
fn parse_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.split('.').count() >= 3
    };
    let words = text.lines().next()?.split_whitespace();
    let found = words.map(|word| word.trim_start_matches('v')).find(is_version)?;
    Some(found.split('+').next().unwrap_or(found).to_owned())
}

/// Whether a version, as a program or a distribution formats it (`1:2.2.1-0ubuntu1~24.04.4`), is at
/// least this major and minor version. False for a text without numbers.
pub(crate) fn is_at_least(version: &str, oldest: [u32; 2]) -> bool {
    // Skip an epoch, which ends with a colon.
    let version = version.rsplit(':').next().unwrap_or(version);
    let mut parts = version.split(['.', '-', '~', '+']).map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => [major, minor] >= oldest,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory(programs: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
        let held = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(held.path()).unwrap().to_owned();
        for (name, prints) in programs {
            let file = path.join(name);
            std::fs::write(&file, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        (held, path)
    }

    #[tokio::test]
    async fn runtime_versions_are_read_and_old_ones_refused() {
        let containerd = "containerd github.com/containerd/containerd/v2 v2.3.4+unknown 5a8e";
        let runc = "runc version 1.4.3";
        let with = |containerd, runc| {
            [
                ("containerd", containerd),
                ("runc", runc),
                ("ctr", ""),
                ("containerd-shim-runc-v2", ""),
            ]
        };
        let (_held, path) = directory(&with(containerd, runc));
        let opened = RuntimeDirectory::open(path).await.unwrap();
        assert_eq!((opened.containerd_version(), opened.runc_version()), ("2.3.4", "1.4.3"));
        assert_eq!(opened.programs(), ["containerd", "containerd-shim-runc-v2", "ctr", "runc"]);

        let old = "containerd github.com/containerd/containerd v1.7.28 b98a";
        for (containerd, runc, says) in [
            (old, runc, "containerd is 1.7.28, older than 2.0"),
            (containerd, "runc version 1.2.8", "runc is 1.2.8, older than 1.3"),
            (containerd, "no", "cannot determine the version"),
        ] {
            let (_held, path) = directory(&with(containerd, runc));
            let error = RuntimeDirectory::open(path).await.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let (_held, path) = directory(&with(containerd, runc)[1..]);
        let error = RuntimeDirectory::open(path).await.unwrap_err();
        assert!(error.to_string().ends_with("lacks containerd"), "{error}");
    }

    #[test]
    fn distribution_versions_are_compared() {
        for (version, oldest, holds) in [
            ("2.2.1-0ubuntu1~24.04.4", OLDEST_CONTAINERD, true),
            ("1:2.0.0~ds1", OLDEST_CONTAINERD, true),
            ("1.7.24~ds1-6+deb13u1", OLDEST_CONTAINERD, false),
            ("1.3.4-0ubuntu1", OLDEST_RUNC, true),
            ("1.1.15+ds1-2+b4", OLDEST_RUNC, false),
            ("2.0", OLDEST_RUNC, true),
            ("unknown", OLDEST_RUNC, false),
        ] {
            assert_eq!(is_at_least(version, oldest), holds, "{version}");
        }
    }
}
