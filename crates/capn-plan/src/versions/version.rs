//! Version numbers.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A version of three numbers. A suffix (`-rc.1`, `+build`, `-0ubuntu1`, `~ds1`) is ignored: a
/// pre-release has the settings of its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Patch version. 0 if missing.
    pub patch: u32,
}

/// Invalid version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not a version")]
pub struct ParseVersionError {
    /// The text.
    pub text: String,
}

impl Version {
    /// Creates a version from its numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseVersionError { text: text.to_owned() };
        let rest = text.strip_prefix('v').unwrap_or(text);
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let numbers: Vec<u32> = rest[..end]
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        match numbers[..] {
            [major, minor] => Ok(Self::new(major, minor, 0)),
            [major, minor, patch] => Ok(Self::new(major, minor, patch)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
