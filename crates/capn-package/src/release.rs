//! A release: its version and its manager image.

use serde_json::{Value, json};

use crate::{PackageError, yaml};

/// Release series (major, minor), oldest first. All follow contract v1beta2.
const SERIES: &[(u64, u64)] = &[(0, 1)];

/// Cluster API contract of all series.
const CONTRACT: &str = "v1beta2";

/// A release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    version: semver::Version,
    image: String,
}

impl Release {
    /// Creates a release with this version (`v1.2.3`; the `v` is optional) and manager image.
    ///
    /// # Errors
    /// Returns [`PackageError::Version`] for an invalid version, [`PackageError::Series`] if it
    /// does not belong to a series.
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

    /// Returns the version without `v`: `1.2.3`.
    #[must_use]
    pub fn version(&self) -> String {
        self.version.to_string()
    }

    /// Returns the version as a tag: `v1.2.3`.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Returns the image of the manager, with its tag.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// `metadata.yaml`: the contract of each series.
    ///
    /// # Errors
    /// Returns [`PackageError::Write`], which does not happen in practice.
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
