//! `/1.0/instances/NAME/metadata`: image metadata and templates of an instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Config;

/// Content of an image's `metadata.yaml`, of which each instance has its own copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageMetadata {
    /// Architecture.
    pub architecture: String,
    /// Creation time, in seconds since 1970.
    pub creation_date: i64,
    /// Expiry time, in seconds since 1970; 0 for never.
    pub expiry_date: i64,
    /// Properties.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Files that the server writes into the instance, by path.
    #[serde(deserialize_with = "crate::null::default")]
    pub templates: BTreeMap<String, ImageMetadataTemplate>,
}

/// A file that the server writes into an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageMetadataTemplate {
    /// When it is written: `create`, `copy`, `start`, `rename`.
    #[serde(deserialize_with = "crate::null::default")]
    pub when: Vec<String>,
    /// Only write it when the file does not exist.
    pub create_only: bool,
    /// Name of the template.
    pub template: String,
    /// Values for the template.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Owner, with the extension `image_template_permissions`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Group, with the extension `image_template_permissions`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gid: String,
    /// Octal mode, with the extension `image_template_permissions`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}
