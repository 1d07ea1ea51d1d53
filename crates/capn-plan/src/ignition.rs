//! Bootstrap data in the format of Ignition.
//!
//! An instance gets its bootstrap data as `cloud-init.user-data`, regardless of the format. An
//! image with Ignition may read it there. The default node images have cloud-init, which ignores
//! it.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Why an instance of a default node image cannot boot with Ignition, and what to do about it.
pub const NEEDS_IMAGE: &str = "the bootstrap data has the format ignition, which the default node image cannot read: it has cloud-init; set spec.image to an image with Ignition, or spec.format of the KubeadmConfig to cloud-config";

/// Returns whether bootstrap data is an Ignition configuration of any version.
pub fn is_ignition(data: &str) -> bool {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "ignition")]
        _ignition: IgnoredAny,
    }
    data.trim_start().starts_with('{') && serde_json::from_str::<Config>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignition_is_told_from_cloud_config_and_scripts() {
        for (data, expected) in [
            (r#"{"ignition":{"version":"2.3.0"},"storage":{}}"#, true),
            ("\n {\"ignition\": {\"version\": \"3.4.0\"}}\n", true),
            ("## template: jinja\n#cloud-config\n{\"ignition\":{}}", false),
            ("#!/bin/sh\n", false),
            (r#"{"runcmd": []}"#, false),
            (r#"{"ignition":{}"#, false),
            ("", false),
        ] {
            assert_eq!(is_ignition(data), expected, "{data}");
        }
    }
}
