//! Kubernetes versions.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use capn_plan::versions;

/// The oldest supported minor version of Kubernetes 1.
pub const OLDEST: u32 = 31;

/// A version such as `v1.36.0`, with an optional pre-release suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesVersion {
    minor: u32,
    patch: u32,
    pre_release: Option<String>,
}

impl KubernetesVersion {
    /// Returns the minor version.
    pub fn minor(&self) -> u32 {
        self.minor
    }
}

/// Order by semantic versioning precedence: a pre-release comes before its release.
impl Ord for KubernetesVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = (self.minor, self.patch).cmp(&(other.minor, other.patch));
        numbers.then_with(|| match (&self.pre_release, &other.pre_release) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => pre_releases(a, b),
        })
    }
}

impl PartialOrd for KubernetesVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Numbers are compared by value and come before words; a prefix comes before a longer identifier.
fn pre_releases(a: &str, b: &str) -> Ordering {
    let part = |text: &str| match text.parse::<u64>() {
        Ok(number) => (0, number, String::new()),
        Err(_) => (1, 0, text.to_owned()),
    };
    a.split('.').map(part).cmp(b.split('.').map(part)).then_with(|| a.cmp(b))
}

/// Returns a note for a version newer than all that capn knows; `None` for others and for invalid
/// versions.
pub fn newer_than_known(version: &str) -> Option<String> {
    let known = versions::NEWEST;
    let asked: KubernetesVersion = version.parse().ok()?;
    (asked.minor > known.minor).then(|| {
        format!(
            "Kubernetes {asked} is newer than this version of capn supports: its nodes are configured like those of {}.{}",
            known.major, known.minor
        )
    })
}

impl FromStr for KubernetesVersion {
    type Err = String;

    /// Parses a version with or without `v`. The error explains what is wrong.
    fn from_str(text: &str) -> Result<Self, String> {
        let shape =
            || format!("`{text}` is not a Kubernetes version (expected a version such as v1.36.0)");
        let plain = text.strip_prefix('v').unwrap_or(text);
        let (numbers, pre_release) = match plain.split_once('-') {
            Some((numbers, pre)) if !pre.is_empty() => (numbers, Some(pre.to_owned())),
            Some(_) => return Err(shape()),
            None => (plain, None),
        };
        let parts: Vec<&str> = numbers.split('.').collect();
        let [major, minor, patch] = parts.as_slice() else { return Err(shape()) };
        let number = |part: &str| match part.len() > 1 && part.starts_with('0') {
            true => Err(shape()),
            false => part.parse::<u32>().map_err(|_| shape()),
        };
        let (major, minor, patch) = (number(major)?, number(minor)?, number(patch)?);
        if major != 1 {
            return Err(format!("Kubernetes {major} is not supported"));
        }
        if minor < OLDEST {
            return Err(format!(
                "Kubernetes 1.{minor} is too old: the oldest supported version is 1.{OLDEST}"
            ));
        }
        Ok(Self { minor, patch, pre_release })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}.{}", self.minor, self.patch)?;
        match &self.pre_release {
            Some(pre) => write!(f, "-{pre}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_v() {
        for (text, shown) in
            [("v1.36.0", "v1.36.0"), ("1.36.2", "v1.36.2"), ("v1.37.0-rc.1", "v1.37.0-rc.1")]
        {
            assert_eq!(text.parse::<KubernetesVersion>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn versions_are_ordered_by_precedence() {
        let ordered = [
            "v1.36.9",
            "v1.36.10",
            "v1.37.0-alpha.1",
            "v1.37.0-rc.2",
            "v1.37.0-rc.10",
            "v1.37.0-rc.10.1",
            "v1.37.0",
            "v1.37.1",
        ]
        .map(|text| text.parse::<KubernetesVersion>().unwrap());
        assert!(ordered.is_sorted_by(|a, b| a < b), "{ordered:?}");
    }

    #[test]
    fn a_version_newer_than_the_table_is_accepted_with_a_note() {
        for (version, is_newer) in [
            ("v1.38.0-alpha.1", true),
            ("v1.37.9", false),
            ("v1.33.0", false),
            ("v1.31.0", false),
            ("no", false),
        ] {
            assert_eq!(newer_than_known(version).is_some(), is_newer, "{version}");
        }
        let note = newer_than_known("v1.38.0").unwrap();
        assert!(note.ends_with("like those of 1.37"), "{note}");
    }

    #[test]
    fn an_invalid_version_explains_why() {
        let cases = [
            ("latest", "is not a Kubernetes version"),
            ("v1.36", "is not a Kubernetes version"),
            ("1.36.x", "is not a Kubernetes version"),
            ("v1.036.0", "is not a Kubernetes version"),
            ("v1.36.0-", "is not a Kubernetes version"),
            ("v2.0.0", "Kubernetes 2 is not supported"),
            ("v1.20.1", "too old"),
        ];
        for (text, why) in cases {
            let error = text.parse::<KubernetesVersion>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
