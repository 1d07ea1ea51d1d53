//! A release: its version and the image of its manager.

use serde_json::{Value, json};

use crate::{PackageError, yaml};

/// Series of releases (major, minor), oldest first. All follow contract v1beta2.
const SERIES: &[(u64, u64)] = &[(0, 1)];

/// The contract of Cluster API that every series follows.
const CONTRACT: &str = "v1beta2";

/// A release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    version: semver::Version,
    image: String,
}

impl Release {
    /// A release of a version (`v1.2.3`, the `v` may be left out) whose manager is in an image.
    ///
    /// # Errors
    /// [`PackageError::Version`] if it is no version, [`PackageError::Series`] if its major and
    /// minor number are in no series.
    pub fn new(version: &str, image: &str) -> Result<Self, PackageError> {
        let plain = version.strip_prefix('v').unwrap_or(version);
        let parsed = semver::Version::parse(plain)
            .map_err(|source| PackageError::Version { version: version.to_owned(), source })?;
        if !SERIES.contains(&(parsed.major, parsed.minor)) {
            let series = format!("{}.{}", parsed.major, parsed.minor);
            return Err(PackageError::Series { version: version.to_owned(), series });
        }
        Ok(Self { version: parsed, image: image.to_owned() })
    }

    /// The version without `v`: `1.2.3`.
    #[must_use]
    pub fn version(&self) -> String {
        self.version.to_string()
    }

    /// The version as a tag: `v1.2.3`.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("v{}", self.version)
    }

    /// The image of the manager, with its tag.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// `metadata.yaml`: which contract each series follows.
    ///
    /// # Errors
    /// [`PackageError::Write`], which does not happen.
    pub fn metadata(&self) -> Result<String, PackageError> {
        let series: Vec<Value> = SERIES
            .iter()
            .map(|(major, minor)| json!({"major": major, "minor": minor, "contract": CONTRACT}))
            .collect();
        yaml::document(&json!({
            "apiVersion": "clusterctl.cluster.x-k8s.io/v1alpha3",
            "kind": "Metadata",
            "releaseSeries": series,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_a_series() {
        let release = Release::new("v0.1.2-rc.1", "example.org/capn:v0.1.2").unwrap();
        assert_eq!((release.version(), release.tag()), ("0.1.2-rc.1".into(), "v0.1.2-rc.1".into()));
        assert!(matches!(Release::new("0.1", "i"), Err(PackageError::Version { .. })));
        let error = Release::new("9.1.0", "i").unwrap_err();
        assert!(error.to_string().contains("add 9.1 to SERIES"), "{error}");
    }

    #[test]
    fn the_version_of_the_workspace_is_in_a_series() {
        Release::new(env!("CARGO_PKG_VERSION"), "i").unwrap();
    }

    #[test]
    fn metadata_names_the_contract_of_each_series() {
        let text = Release::new("0.1.0", "i").unwrap().metadata().unwrap();
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(value["kind"], "Metadata");
        let first = json!({"major": 0, "minor": 1, "contract": "v1beta2"});
        assert_eq!(value["releaseSeries"][0], first);
    }
}
