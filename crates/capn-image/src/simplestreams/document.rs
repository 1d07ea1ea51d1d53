//! The documents of a simplestreams tree, as they are written. Pure.
//!
//! Fields that are not known here are kept, so that a document of somebody else that gets an
//! image added loses nothing.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::problem::Place;

/// Where the index is, below the root of the tree.
pub const INDEX_PATH: &str = "streams/v1/index.json";
/// Where a tree that is made here has its products.
pub const PRODUCTS_PATH: &str = "streams/v1/images.json";
/// Data type of a document that lists images.
pub const IMAGE_DOWNLOADS: &str = "image-downloads";

const INDEX_FORMAT: &str = "index:1.0";
const PRODUCTS_FORMAT: &str = "products:1.0";

/// `index.json`: which documents there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// `index:1.0`.
    pub format: String,
    /// Documents by the name of their content.
    #[serde(default)]
    pub index: BTreeMap<String, IndexEntry>,
    /// When it was written, as in mail headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One document, as the index names it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// `image-downloads` for images.
    #[serde(default)]
    pub datatype: String,
    /// Below the root of the tree.
    pub path: String,
    /// `products:1.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Keys of its products.
    #[serde(default)]
    pub products: Vec<String>,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `images.json`: products with their versions and files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Products {
    /// Name of the content, as in the index.
    #[serde(default)]
    pub content_id: String,
    /// `image-downloads`.
    #[serde(default)]
    pub datatype: String,
    /// `products:1.0`.
    pub format: String,
    /// Products by key, `os:release:variant:architecture` by custom.
    pub products: BTreeMap<String, Product>,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What stays the same from version to version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Names, with commas between.
    #[serde(default)]
    pub aliases: String,
    /// As Debian names it: `amd64`, `arm64`.
    #[serde(default)]
    pub arch: String,
    /// `debian`.
    #[serde(default)]
    pub os: String,
    /// `bookworm`.
    #[serde(default)]
    pub release: String,
    /// How the release is called for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release_title: String,
    /// `12`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `cloud`, `kubeadm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// What an instance from it needs, as Incus reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requirements: BTreeMap<String, String>,
    /// The same, as LXD reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lxd_requirements: BTreeMap<String, String>,
    /// Versions by serial, which begins with a date: `202611241352`.
    #[serde(default)]
    pub versions: BTreeMap<String, Version>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Product {
    /// The aliases, one by one.
    pub fn alias_list(&self) -> impl Iterator<Item = &str> {
        self.aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty())
    }
}

/// The files of one version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Files by a key that only has to be unique; by custom it is the file type.
    #[serde(default)]
    pub items: BTreeMap<String, Item>,
    /// `release`, `daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Properties of the image (`capn.kind`, …). Ours: servers skip it, `capn` reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capn_properties: BTreeMap<String, String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// `incus.tar.xz`, `squashfs`, `disk-kvm.img`, … It says what the file is for; how it is
    /// compressed the servers see for themselves.
    pub ftype: String,
    /// Below the root of the tree.
    #[serde(default)]
    pub path: String,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// SHA-256, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of this metadata file followed by the squashfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_squashfs_sha256: Option<String>,
    /// Of this metadata file followed by the tarball of the root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_rootxz_sha256: Option<String>,
    /// The former name of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_sha256: Option<String>,
    /// Of this metadata file followed by the qcow2 disk.
    #[serde(rename = "combined_disk-kvm-img_sha256")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_disk_kvm_img_sha256: Option<String>,
    /// Of this metadata file followed by Ubuntu's disk.
    #[serde(rename = "combined_disk1-img_sha256")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_disk1_img_sha256: Option<String>,
    /// Of this metadata file followed by Ubuntu's UEFI disk.
    #[serde(rename = "combined_uefi1-img_sha256")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_uefi1_img_sha256: Option<String>,
    /// `virtual-machine` where a unified tarball is one; older servers take it for a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_type: Option<String>,
    /// Anything else (`delta_base`, `md5`, …).
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a document cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or a field is not what it should be.
    #[error("{place}")]
    Json {
        /// Where in the document; the cause says the line and what was expected.
        place: Box<Place>,
        /// Cause.
        source: serde_json::Error,
    },
    /// Another format.
    #[error("the format is {found:?}, not {wanted:?}")]
    Format {
        /// What it says.
        found: String,
        /// What is read.
        wanted: &'static str,
    },
}

/// Reads `index.json`.
///
/// # Errors
///
/// The place and what is wrong there.
pub fn parse_index(text: &str) -> Result<Index, DocumentError> {
    let index: Index = parse(text)?;
    match index.format.as_str() {
        INDEX_FORMAT => Ok(index),
        _ => Err(DocumentError::Format { found: index.format, wanted: INDEX_FORMAT }),
    }
}

/// Reads a document of products.
///
/// # Errors
///
/// As [`parse_index`].
pub fn parse_products(text: &str) -> Result<Products, DocumentError> {
    let products: Products = parse(text)?;
    match products.format.as_str() {
        PRODUCTS_FORMAT => Ok(products),
        _ => Err(DocumentError::Format { found: products.format, wanted: PRODUCTS_FORMAT }),
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, DocumentError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = Box::new(Place::of_path(error.path()));
        DocumentError::Json { place, source: error.into_inner() }
    })?;
    // What follows the object would be lost when the document is written again.
    json.end().map_err(|source| DocumentError::Json { place: Box::default(), source })?;
    Ok(value)
}

impl Products {
    /// A document without products.
    pub fn new() -> Self {
        Self {
            content_id: "images".to_owned(),
            datatype: IMAGE_DOWNLOADS.to_owned(),
            format: PRODUCTS_FORMAT.to_owned(),
            ..Self::default()
        }
    }
}

impl Index {
    /// An index that names nothing.
    pub fn new() -> Self {
        Self { format: INDEX_FORMAT.to_owned(), ..Self::default() }
    }

    /// Lets the index name a document and its products.
    pub fn name(&mut self, path: &str, products: &Products) {
        let known = self.index.iter().find(|(_, entry)| entry.path == path);
        let id = known.map_or_else(|| products.content_id.clone(), |(id, _)| id.clone());
        let entry = self.index.entry(id).or_default();
        entry.datatype = IMAGE_DOWNLOADS.to_owned();
        entry.path = path.to_owned();
        entry.format = PRODUCTS_FORMAT.to_owned();
        entry.products = products.products.keys().cloned().collect();
        entry.updated.clone_from(&products.updated);
        self.updated.clone_from(&products.updated);
    }
}
