//! Position of an image in the documents. Pure.

use std::collections::BTreeMap;

use capn_text::display;
use jiff::{Timestamp, tz::TimeZone};

use super::{Import, store::StoredFiles};
use crate::catalog::{PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION};
use crate::simplestreams::directory::Tree;
use crate::simplestreams::document::{Item, Product, Products, Version};
use crate::simplestreams::error::StreamsError;
use crate::simplestreams::tarball::{FileKind, ImageMetadata};

/// A value of the metadata file, and one of the root if it is a separate file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Files<T> {
    pub(super) metadata: T,
    pub(super) root: Option<T>,
}

/// Maximum length of a text in a key, in bytes.
const MAX_TEXT: usize = 128;

/// Data of an image for the documents.
pub(super) struct Entry<'a> {
    import: &'a Import,
    architecture: &'static str,
    created: Timestamp,
    properties: BTreeMap<String, String>,
    pub(super) key: String,
}

impl<'a> Entry<'a> {
    pub(super) fn new(import: &'a Import, metadata: ImageMetadata) -> Self {
        let ImageMetadata { architecture, creation_date, mut properties, .. } = metadata;
        properties.extend(import.properties.clone());
        let created = Timestamp::from_second(creation_date).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut entry = Self { import, architecture, created, properties, key: String::new() };
        let (os, release) = (entry.property("os"), entry.property("release"));
        let key = format!("{os}:{release}:{}:{architecture}", entry.variant());
        entry.key = import.product.clone().unwrap_or(key);
        entry
    }

    fn property(&self, key: &str) -> &str {
        match self.properties.get(key).map(String::as_str) {
            None | Some("") => "unknown",
            Some(value) => value,
        }
    }

    /// Node images differ by Kubernetes version, and aliases belong to a product.
    fn variant(&self) -> String {
        let of = |key: &str| self.properties.get(key).filter(|value| !value.is_empty());
        match (of(PROPERTY_KIND), of(PROPERTY_KUBERNETES_VERSION), of("variant")) {
            (Some(kind), Some(version), _) => format!("{kind}-{version}"),
            (_, _, Some(variant)) => variant.clone(),
            (Some(kind), ..) => kind.clone(),
            _ => "default".to_owned(),
        }
    }

    fn default_alias(&self) -> String {
        format!("{}/{}/{}", self.property("os"), self.property("release"), self.variant())
    }

    /// Returns the aliases that the product gets. A product without any gets one from its properties,
    /// unless the image existed.
    fn wanted_aliases(&self, tree: &Tree, key: &str, existed: bool) -> Vec<String> {
        let product = tree.documents.iter().find_map(|(_, document)| document.products.get(key));
        let has_some = product.is_some_and(|product| product.alias_list().next().is_some());
        match self.import.aliases.is_empty() && !has_some && !existed {
            true => vec![self.default_alias()],
            false => self.import.aliases.clone(),
        }
    }

    /// Checks the texts of the image that become keys and aliases. They come from its archive.
    fn check_properties(&self) -> Result<(), StreamsError> {
        let variant = self.variant();
        let texts = ["os", "release"].map(|key| (key, self.property(key)));
        for (property, value) in texts.into_iter().chain([("variant", variant.as_str())]) {
            let why = match value {
                _ if display::is_unsafe(value) || value.contains(['\n', '\t']) => {
                    "it has control characters"
                }
                _ if value.contains([',', ':']) => "it has a comma or a colon",
                _ if value.split('/').any(|part| part == "..") => "it leads to another directory",
                _ if value.len() > MAX_TEXT => "it is too long",
                _ => continue,
            };
            let value = value.chars().take(MAX_TEXT).collect();
            return Err(StreamsError::BadProperty { property, value, why });
        }
        Ok(())
    }

    /// Checks for conflicts with existing content, as far as possible before the files are read:
    /// the image may already exist in another product.
    pub(super) fn check(&self, tree: &Tree) -> Result<(), StreamsError> {
        self.check_properties()?;
        let other = tree.documents.iter().find_map(|(_, document)| {
            document.products.get(&self.key).filter(|product| product.arch != self.architecture)
        });
        if let Some(product) = other {
            return Err(StreamsError::OtherArchitecture {
                product: self.key.clone(),
                found: product.arch.clone(),
                wanted: self.architecture.to_owned(),
            });
        }
        let serials = self.serials();
        self.check_aliases(tree, &self.key, false, |product| {
            serials.iter().any(|serial| product.versions.contains_key(serial))
        })
    }

    /// Rejects aliases of other products, unless they are to be moved.
    pub(super) fn check_aliases(
        &self,
        tree: &Tree,
        key: &str,
        existed: bool,
        is_spared: impl Fn(&Product) -> bool,
    ) -> Result<(), StreamsError> {
        if self.import.move_aliases {
            return Ok(());
        }
        for (other, product) in tree.documents.iter().flat_map(|(_, document)| &document.products) {
            if other == key || product.arch != self.architecture || is_spared(product) {
                continue;
            }
            let wanted = self.wanted_aliases(tree, key, existed);
            if let Some(alias) = product.alias_list().find(|has| wanted.iter().any(|w| w == has)) {
                return Err(StreamsError::AliasTaken {
                    alias: alias.to_owned(),
                    product: other.clone(),
                });
            }
        }
        Ok(())
    }

    fn ours(&self) -> BTreeMap<String, String> {
        let is_ours = |(key, _): &(&String, &String)| key.starts_with("capn.");
        self.properties
            .iter()
            .filter(is_ours)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Adds the image. Returns the number of the document, the key of the product, and the key of
    /// the version.
    pub(super) fn add(
        &self,
        tree: &mut Tree,
        stored: &StoredFiles,
    ) -> Result<(usize, String, String), StreamsError> {
        let has = |(_, document): &(String, Products)| document.products.contains_key(&self.key);
        let number = tree.documents.iter().position(has).unwrap_or(0);
        let product = tree.documents[number]
            .1
            .products
            .entry(self.key.clone())
            .or_insert_with(|| self.product());
        let root_type = stored.kinds.root.map(root_ftype);
        let serial = self
            .serials()
            .into_iter()
            .find(|serial| {
                product.versions.get(serial).is_none_or(|version| has_room(version, root_type))
            })
            .ok_or_else(|| StreamsError::VersionTaken {
                product: self.key.clone(),
                version: self.serials().concat(),
            })?;
        let version = product.versions.entry(serial.clone()).or_default();
        version.capn_properties.extend(self.ours());
        put_items(version, stored);
        Ok((number, self.key.clone(), serial))
    }

    fn product(&self) -> Product {
        let requirements: BTreeMap<String, String> = self
            .properties
            .iter()
            .filter_map(|(key, value)| {
                Some((key.strip_prefix("requirements.")?.to_owned(), value.clone()))
            })
            .collect();
        let release = self.property("release").to_owned();
        Product {
            arch: self.architecture.to_owned(),
            os: self.property("os").to_owned(),
            release_title: release.clone(),
            release,
            version: self.properties.get("version").cloned().unwrap_or_default(),
            variant: self.variant(),
            lxd_requirements: requirements.clone(),
            requirements,
            ..Product::default()
        }
    }

    /// Returns the minute of its creation and, if that is taken, the second.
    fn serials(&self) -> [String; 2] {
        let created = self.created.to_zoned(TimeZone::UTC);
        ["%Y%m%d%H%M", "%Y%m%d%H%M%S"].map(|form| created.strftime(form).to_string())
    }

    /// Sets the aliases of the product. Returns those moved from others.
    pub(super) fn name(
        &self,
        tree: &mut Tree,
        number: usize,
        key: &str,
        existed: bool,
    ) -> Vec<(String, String)> {
        let mut wanted = self.import.aliases.clone();
        let mut moved = Vec::new();
        for (other, product) in tree.documents.iter_mut().flat_map(|(_, doc)| &mut doc.products) {
            if other == key || product.arch != self.architecture {
                continue;
            }
            let (taken, kept): (Vec<&str>, Vec<&str>) =
                product.alias_list().partition(|alias| wanted.iter().any(|w| w == alias));
            if !taken.is_empty() {
                moved.extend(taken.iter().map(|alias| ((*alias).to_owned(), other.clone())));
                product.aliases = kept.join(",");
            }
        }
        let Some(product) = tree.documents[number].1.products.get_mut(key) else {
            return moved;
        };
        let mut aliases: Vec<String> = product.alias_list().map(str::to_owned).collect();
        if wanted.is_empty() && aliases.is_empty() && !existed {
            wanted.push(self.default_alias());
        }
        for alias in wanted {
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        product.aliases = aliases.join(",");
        moved
    }
}

/// Returns the name of a root file type in Incus and LXD.
fn root_ftype(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Squashfs => "squashfs",
        FileKind::Qcow2 => "disk-kvm.img",
        _ => "root.tar.xz",
    }
}

/// Returns whether an image with such a root can be added to a version.
fn has_room(version: &Version, root_type: Option<&str>) -> bool {
    match root_type {
        Some(root) => version.items.values().all(|item| item.ftype != root),
        None => version.items.values().all(|item| !item.ftype.ends_with("_combined.tar.gz")),
    }
}

fn put_items(version: &mut Version, stored: &StoredFiles) {
    let metadata = Item {
        path: stored.files.metadata.path.clone(),
        size: stored.files.metadata.size,
        sha256: Some(stored.files.metadata.sha256.clone()),
        ..Item::default()
    };
    let Some((root, kind)) = stored.files.root.as_ref().zip(stored.kinds.root) else {
        for ftype in ["incus_combined.tar.gz", "lxd_combined.tar.gz"] {
            let item = Item { ftype: ftype.to_owned(), ..metadata.clone() };
            version.items.insert(ftype.to_owned(), item);
        }
        return;
    };
    let root_type = root_ftype(kind);
    let item = Item {
        ftype: root_type.to_owned(),
        path: root.path.clone(),
        size: root.size,
        sha256: Some(root.sha256.clone()),
        ..Item::default()
    };
    version.items.insert(root_type.to_owned(), item);
    for ftype in ["incus.tar.xz", "lxd.tar.xz"] {
        // A container and a virtual machine of one version may or may not share their metadata.
        let is_same = |item: &Item| item.ftype == ftype && item.sha256 == metadata.sha256;
        let same = version.items.iter().find(|(_, item)| is_same(item));
        let key = match same {
            Some((key, _)) => key.clone(),
            None if version.items.contains_key(ftype) => format!("{root_type}.{ftype}"),
            None => ftype.to_owned(),
        };
        let item = version
            .items
            .entry(key)
            .or_insert_with(|| Item { ftype: ftype.to_owned(), ..metadata.clone() });
        let combined = Some(stored.fingerprint.clone());
        match root_type {
            "squashfs" => item.combined_squashfs_sha256 = combined,
            "disk-kvm.img" => item.combined_disk_kvm_img_sha256 = combined,
            _ => {
                // Other readers know only the older name.
                item.combined_sha256.clone_from(&combined);
                item.combined_rootxz_sha256 = combined;
            }
        }
    }
}
