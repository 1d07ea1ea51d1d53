//! A folder with a container runtime: containerd, its shim, ctr and runc, and maybe crictl.

use camino::{Utf8Path, Utf8PathBuf};

use super::{BinariesError, Programs, folder::output};

/// The oldest that are kept alive: containerd 1.7 reached its end in September 2026
/// (containerd.io/releases), and kubelet is to drop what it needs of an older CRI (KEP-4033).
pub(crate) const OLDEST_CONTAINERD: [u32; 2] = [2, 0];
/// runc 1.2 reached its end with 1.4 (runc's RELEASES.md: the two newest minor versions).
pub(crate) const OLDEST_RUNC: [u32; 2] = [1, 3];

/// A folder that holds a container runtime, and its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFolder {
    path: Utf8PathBuf,
    containerd: String,
    runc: String,
}

impl RuntimeFolder {
    /// Looks into the folder: all files there, executable, and not too old.
    ///
    /// Runs `containerd` and `runc` of the folder to ask for their versions.
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

    /// The folder.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Version of containerd without `v`, e.g. `2.3.4`.
    pub fn containerd_version(&self) -> &str {
        &self.containerd
    }

    /// Version of runc, e.g. `1.4.3`.
    pub fn runc_version(&self) -> &str {
        &self.runc
    }

    /// Names of all files that go into an image, sorted.
    pub(crate) fn programs(&self) -> Vec<&'static str> {
        Programs::Runtime.in_folder(&self.path)
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

/// The first word of the first line that is a version: `runc version 1.4.3`, or
/// `containerd github.com/containerd/containerd/v2 v2.3.4 5a8e2…`.
fn parse_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.split('.').count() >= 3
    };
    let words = text.lines().next()?.split_whitespace();
    let found = words.map(|word| word.trim_start_matches('v')).find(is_version)?;
    Some(found.split('+').next().unwrap_or(found).to_owned())
}

/// Whether a version, as a program or a distribution writes it (`1:2.2.1-0ubuntu1~24.04.4`), is of
/// this major and minor version or newer. What has no numbers is not.
pub(crate) fn is_at_least(version: &str, oldest: [u32; 2]) -> bool {
    // An epoch comes before a colon.
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

    fn folder(programs: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
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
    async fn a_runtime_says_its_versions_and_an_old_one_is_refused() {
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
        let (_held, path) = folder(&with(containerd, runc));
        let opened = RuntimeFolder::open(path).await.unwrap();
        assert_eq!((opened.containerd_version(), opened.runc_version()), ("2.3.4", "1.4.3"));
        assert_eq!(opened.programs(), ["containerd", "containerd-shim-runc-v2", "ctr", "runc"]);

        let old = "containerd github.com/containerd/containerd v1.7.28 b98a";
        for (containerd, runc, says) in [
            (old, runc, "containerd is 1.7.28, older than 2.0"),
            (containerd, "runc version 1.2.8", "runc is 1.2.8, older than 1.3"),
            (containerd, "no", "cannot ask"),
        ] {
            let (_held, path) = folder(&with(containerd, runc));
            let error = RuntimeFolder::open(path).await.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let (_held, path) = folder(&with(containerd, runc)[1..]);
        let error = RuntimeFolder::open(path).await.unwrap_err();
        assert!(error.to_string().ends_with("lacks containerd"), "{error}");
    }

    #[test]
    fn versions_of_distributions_are_compared_too() {
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
