//! Documents of a simplestreams tree. Pure.
//!
//! Unknown fields are kept, so that documents of other tools lose nothing when an image is added.

use std::collections::BTreeMap;

use group_limits::weight::Weight;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::problem::Location;

/// Path of the index, relative to the root of the tree.
pub const INDEX_PATH: &str = "streams/v1/index.json";
/// Path of the products in new trees.
pub const PRODUCTS_PATH: &str = "streams/v1/images.json";
/// Data type of a document that lists images.
pub const IMAGE_DOWNLOADS: &str = "image-downloads";

/// Maximum number of values in a document, as [`Weight`] counts them: enough for 100,000 files.
const MAX_VALUES: usize = 4_000_000;

const INDEX_FORMAT: &str = "index:1.0";
const PRODUCTS_FORMAT: &str = "products:1.0";

/// `index.json`: the list of documents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// `index:1.0`.
    pub format: String,
    /// Documents by the name of their content.
    #[serde(default)]
    pub index: BTreeMap<String, IndexEntry>,
    /// Time of the last update, in RFC 2822 format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A document in the index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// `image-downloads` for images.
    #[serde(default)]
    pub datatype: String,
    /// Path relative to the root of the tree.
    pub path: String,
    /// `products:1.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Keys of its products.
    #[serde(default)]
    pub products: Vec<String>,
    /// Time of the last update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// Unknown fields.
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
    /// Products by key, usually `os:release:variant:architecture`.
    pub products: BTreeMap<String, Product>,
    /// Time of the last update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A product: everything that is the same for all its versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Aliases, separated by commas.
    #[serde(default)]
    pub aliases: String,
    /// Architecture as named by Debian: `amd64`, `arm64`.
    #[serde(default)]
    pub arch: String,
    /// `debian`.
    #[serde(default)]
    pub os: String,
    /// `bookworm`.
    #[serde(default)]
    pub release: String,
    /// Name of the release for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release_title: String,
    /// `12`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `cloud`, `kubeadm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Requirements on instances, for Incus.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requirements: BTreeMap<String, String>,
    /// Requirements on instances, for LXD.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lxd_requirements: BTreeMap<String, String>,
    /// Versions by serial, which begins with a date: `202611241352`.
    #[serde(default)]
    pub versions: BTreeMap<String, Version>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Product {
    /// Iterates over the aliases.
    pub fn alias_list(&self) -> impl Iterator<Item = &str> {
        self.aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty())
    }
}

/// The files of one version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Files by a unique key, usually the file type.
    #[serde(default)]
    pub items: BTreeMap<String, Item>,
    /// `release`, `daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Properties of the image (`capn.kind`, …) for capn; servers ignore them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capn_properties: BTreeMap<String, String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A file of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// `incus.tar.xz`, `squashfs`, `disk-kvm.img`, … Gives the purpose of the file; servers detect
    /// the compression.
    pub ftype: String,
    /// Path relative to the root of the tree.
    #[serde(default)]
    pub path: String,
    /// Size in bytes.
    #[serde(default)]
    pub size: u64,
    /// SHA-256, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// SHA-256 of this metadata file followed by the squashfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_squashfs_sha256: Option<String>,
    /// SHA-256 of this metadata file followed by the tarball of the root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_rootxz_sha256: Option<String>,
    /// Older name of the previous field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_sha256: Option<String>,
    /// SHA-256 of this metadata file followed by the qcow2 disk.
    #[serde(rename = "combined_disk-kvm-img_sha256")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_disk_kvm_img_sha256: Option<String>,
    /// SHA-256 of this metadata file followed by Ubuntu's disk.
    #[serde(rename = "combined_disk1-img_sha256")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_disk1_img_sha256: Option<String>,
    /// SHA-256 of this metadata file followed by Ubuntu's UEFI disk.
    #[serde(rename = "combined_uefi1-img_sha256")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_uefi1_img_sha256: Option<String>,
    /// `virtual-machine` for a unified tarball of a virtual machine; older servers treat it as a
    /// container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_type: Option<String>,
    /// Unknown fields (`delta_base`, `md5`, …).
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Error while parsing a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or a field has an unexpected type.
    #[error("{location}")]
    Json {
        /// Location in the document; the cause gives the line and what was expected.
        location: Box<Location>,
        /// Cause.
        source: serde_json::Error,
    },
    /// It has more values than any real one.
    #[error("it has too many values")]
    TooManyValues,
    /// Another format.
    #[error("the format is {found:?}, not {wanted:?}")]
    Format {
        /// Format of the document.
        found: String,
        /// Supported format.
        wanted: &'static str,
    },
}

/// Parses `index.json`.
///
/// # Errors
///
/// [`DocumentError`] with the location of the problem.
pub fn parse_index(text: &str) -> Result<Index, DocumentError> {
    let index: Index = parse(text)?;
    match index.format.as_str() {
        INDEX_FORMAT => Ok(index),
        _ => Err(DocumentError::Format { found: index.format, wanted: INDEX_FORMAT }),
    }
}

/// Parses a document of products.
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
    let mut weight = Weight::default();
    weight.add(text.as_bytes());
    if weight.values > MAX_VALUES {
        return Err(DocumentError::TooManyValues);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let location = Box::new(Location::of_path(error.path()));
        DocumentError::Json { location, source: error.into_inner() }
    })?;
    // Anything after the object would be lost when the document is written again.
    json.end().map_err(|source| DocumentError::Json { location: Box::default(), source })?;
    Ok(value)
}

impl Products {
    /// Creates a document without products.
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
    /// Creates an empty index.
    pub fn new() -> Self {
        Self { format: INDEX_FORMAT.to_owned(), ..Self::default() }
    }

    /// Adds or updates the entry of a document and its products.
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
