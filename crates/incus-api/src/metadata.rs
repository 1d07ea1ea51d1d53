//! `/1.0/instances/NAME/metadata`: image metadata and templates of an instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Config;

/// What `metadata.yaml` of an image says; an instance keeps a copy of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageMetadata {
    /// Architecture.
    pub architecture: String,
    /// When the image was made, seconds since 1970.
    pub creation_date: i64,
    /// When it expires, seconds since 1970; 0 never.
    pub expiry_date: i64,
    /// Properties.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Files the server writes into the instance, by path in it.
    #[serde(deserialize_with = "crate::null::default")]
    pub templates: BTreeMap<String, ImageMetadataTemplate>,
}

/// One file the server writes into an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageMetadataTemplate {
    /// At which moments: `create`, `copy`, `start`, `rename`.
    #[serde(deserialize_with = "crate::null::default")]
    pub when: Vec<String>,
    /// Only when the file does not exist.
    pub create_only: bool,
    /// Name of the template file.
    pub template: String,
    /// Values the template may use.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Owner, with the extension `image_template_permissions`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Group, with the extension `image_template_permissions`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gid: String,
    /// Mode, octal, with the extension `image_template_permissions`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}
