//! `/1.0/images`: images and their aliases.

use serde::{Deserialize, Serialize};

use crate::{Config, InstanceType};

/// An image in the server's store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// SHA-256 of its files, hexadecimal; its identity.
    pub fingerprint: String,
    /// Name of the file it came from.
    pub filename: String,
    /// Size in bytes.
    pub size: u64,
    /// What it says about itself (`os`, `release`, …).
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Readable by anybody who reaches the server.
    pub public: bool,
    /// Kept fresh from its source.
    pub auto_update: bool,
    /// Names that point to it.
    #[serde(deserialize_with = "crate::null::default")]
    pub aliases: Vec<ImageAlias>,
    /// Architecture.
    pub architecture: String,
    /// For containers or for virtual machines.
    #[serde(rename = "type")]
    pub image_type: InstanceType,
    /// When it was made.
    pub created_at: String,
    /// When it may be deleted.
    pub expires_at: String,
    /// When an instance was last created from it.
    pub last_used_at: String,
    /// When it came to this server.
    pub uploaded_at: String,
    /// True when it was downloaded for an instance, not by request.
    pub cached: bool,
    /// Profiles an instance gets when it asks for none.
    #[serde(deserialize_with = "crate::null::default")]
    pub profiles: Vec<String>,
    /// Project it is in.
    pub project: String,
}

/// A name of an image, as the image lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageAlias {
    /// Name; may contain slashes.
    pub name: String,
    /// Free text.
    pub description: String,
}

impl ImageAlias {
    /// An alias without a description.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: String::new() }
    }
}

/// A name of an image, as `/1.0/images/aliases` lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageAliasesEntry {
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Fingerprint of the image.
    pub target: String,
    /// For containers or for virtual machines.
    #[serde(rename = "type")]
    pub image_type: InstanceType,
}

/// `POST /1.0/images/aliases`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageAliasesPost {
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Fingerprint of the image.
    pub target: String,
    /// For containers or for virtual machines; the server checks it against the image.
    #[serde(rename = "type")]
    pub image_type: InstanceType,
}

/// `PUT /1.0/images/FINGERPRINT`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagePut {
    /// Keep it fresh from its source.
    pub auto_update: bool,
    /// Properties.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// Readable by anybody.
    pub public: bool,
    /// When it may be deleted; empty never.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_at: String,
    /// Profiles.
    #[serde(deserialize_with = "crate::null::default")]
    pub profiles: Vec<String>,
}

/// `POST /1.0/images` without a body of its own: copy from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagesPost {
    /// Where it comes from.
    pub source: ImagesPostSource,
    /// Readable by anybody.
    pub public: bool,
    /// Keep it fresh from its source.
    pub auto_update: bool,
    /// Names to give it.
    #[serde(deserialize_with = "crate::null::default")]
    pub aliases: Vec<ImageAlias>,
    /// Properties.
    #[serde(deserialize_with = "crate::null::default")]
    pub properties: Config,
}

/// Where an image is copied from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagesPostSource {
    /// `image`, `instance`, `snapshot` or `url`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pull` or `push`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Image server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// `incus`, `lxd`, `simplestreams` or `oci`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Alias there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Fingerprint there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Certificate (PEM) of that server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// `container` or `virtual-machine`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_type: String,
    /// For `instance`: its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}
