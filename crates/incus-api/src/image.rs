//! `/1.0/images`: images and their aliases.

use serde::{Deserialize, Serialize};

use crate::{Config, InstanceType};

/// An image in the server's store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// SHA-256 of its files, hexadecimal; the identity of the image.
    pub fingerprint: String,
    /// Name of the file that was imported.
    pub filename: String,
    /// Size in bytes.
    pub size: u64,
    /// Properties (`os`, `release`, …).
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Whether it is readable by every client of the server.
    pub public: bool,
    /// Whether it is updated automatically from its source.
    pub auto_update: bool,
    /// Aliases that point to it.
    #[serde(deserialize_with = "crate::null::default")]
    pub aliases: Vec<ImageAlias>,
    /// Architecture.
    pub architecture: String,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub image_type: InstanceType,
    /// Creation time.
    pub created_at: String,
    /// Expiry time.
    pub expires_at: String,
    /// Time of the last instance creation from it.
    pub last_used_at: String,
    /// Time of the upload.
    pub uploaded_at: String,
    /// Whether it was downloaded for an instance, not by request.
    pub cached: bool,
    /// Default profiles of its instances.
    #[serde(deserialize_with = "crate::null::default")]
    pub profiles: Vec<String>,
    /// Project.
    pub project: String,
}

/// An alias of an image, as listed in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageAlias {
    /// Name; may contain slashes.
    pub name: String,
    /// Description.
    pub description: String,
}

impl ImageAlias {
    /// Creates an alias without a description.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: String::new() }
    }
}

/// An alias of an image, as listed in `/1.0/images/aliases`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageAliasesEntry {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Fingerprint of the image.
    pub target: String,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub image_type: InstanceType,
}

/// `POST /1.0/images/aliases`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageAliasesPost {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Fingerprint of the image.
    pub target: String,
    /// Container or virtual machine; the server checks it against the image.
    #[serde(rename = "type")]
    pub image_type: InstanceType,
}

/// `PUT /1.0/images/FINGERPRINT`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagePut {
    /// Update it automatically from its source.
    pub auto_update: bool,
    /// Properties.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Make it readable by every client.
    pub public: bool,
    /// Expiry time; empty for never.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_at: String,
    /// Profiles.
    #[serde(deserialize_with = "crate::null::default")]
    pub profiles: Vec<String>,
}

/// `POST /1.0/images` without an upload: copy an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagesPost {
    /// Source.
    pub source: ImagesPostSource,
    /// Make it readable by every client.
    pub public: bool,
    /// Update it automatically from its source.
    pub auto_update: bool,
    /// Aliases to create.
    #[serde(deserialize_with = "crate::null::default")]
    pub aliases: Vec<ImageAlias>,
    /// Properties.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
}

/// Source of an image copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagesPostSource {
    /// `image`, `instance`, `snapshot` or `url`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pull` or `push`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// URL of the image server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// `incus`, `lxd`, `simplestreams` or `oci`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Alias on the source.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Fingerprint on the source.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Certificate (PEM) of that server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// `container` or `virtual-machine`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_type: String,
    /// For `instance`: name of the instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}
