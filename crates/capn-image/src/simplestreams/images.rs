//! The images of a document, as Incus and LXD see them. Pure.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;

use super::architecture::debian_name;
use super::document::{Item, Product, Products, Version};
use super::problem::{Location, Problem};

mod selection;

pub use selection::{SelectError, Selection, select};

/// Type of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageType {
    /// A system container.
    Container,
    /// A virtual machine.
    VirtualMachine,
}

impl ImageType {
    /// Returns the name in the servers' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
        }
    }
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Key of its item.
    pub item: String,
    /// Type of its item.
    pub ftype: String,
    /// Path relative to the root of the tree.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, if it is in the document.
    pub sha256: Option<String>,
}

/// An image of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Key of the product.
    pub product: String,
    /// Key of the version, which servers show as the serial.
    pub version: String,
    /// SHA-256 of the concatenation of its files.
    pub fingerprint: String,
    /// Type.
    #[serde(rename = "type")]
    pub image_type: ImageType,
    /// Architecture as named by Debian, such as `amd64`.
    pub architecture: String,
    /// Aliases of the product, which refer to its newest version.
    pub aliases: Vec<String>,
    /// Distribution, such as `debian`.
    pub os: String,
    /// Release, such as `bookworm`.
    pub release: String,
    /// Variant, such as `kubeadm`.
    pub variant: String,
    /// Date in the key of the version.
    pub date: Date,
    /// Total size of all files, in bytes.
    pub size: u64,
    /// Metadata file, or the whole image.
    pub metadata: File,
    /// Root filesystem or disk, if it is a separate file.
    pub root: Option<File>,
    /// Whether Incus supports it.
    pub for_incus: bool,
    /// Whether LXD supports it.
    pub for_lxd: bool,
    /// Properties of capn, if it is an image of capn.
    pub properties: BTreeMap<String, String>,
}

impl Image {
    /// Returns whether its architecture has this name, in Debian or in the kernel.
    pub fn is_of_architecture(&self, name: &str) -> bool {
        debian_name(name).unwrap_or(name) == self.architecture
    }
}

/// The servers that read a metadata item, and whether it is the whole image.
struct Metadata {
    for_incus: bool,
    for_lxd: bool,
    unified: bool,
}

fn metadata_type(ftype: &str) -> Option<Metadata> {
    let (for_incus, for_lxd, unified) = match ftype {
        "incus.tar.xz" => (true, false, false),
        "lxd.tar.xz" => (false, true, false),
        "incus_combined.tar.gz" => (true, false, true),
        "lxd_combined.tar.gz" => (false, true, true),
        _ => return None,
    };
    Some(Metadata { for_incus, for_lxd, unified })
}

/// Returns the image type of a root filesystem or disk.
pub(super) fn root_type(ftype: &str) -> Option<ImageType> {
    match ftype {
        "squashfs" | "root.tar.xz" => Some(ImageType::Container),
        "disk-kvm.img" | "disk1.img" | "uefi1.img" => Some(ImageType::VirtualMachine),
        _ => None,
    }
}

/// Returns the fingerprint in a metadata item for an image with this root.
pub(super) fn combined<'a>(metadata: &'a Item, root: &str) -> Option<&'a String> {
    match root {
        "squashfs" => metadata.combined_squashfs_sha256.as_ref(),
        "root.tar.xz" => {
            metadata.combined_rootxz_sha256.as_ref().or(metadata.combined_sha256.as_ref())
        }
        "disk-kvm.img" => metadata.combined_disk_kvm_img_sha256.as_ref(),
        "disk1.img" => metadata.combined_disk1_img_sha256.as_ref(),
        "uefi1.img" => metadata.combined_uefi1_img_sha256.as_ref(),
        _ => None,
    }
    .filter(|hash| !hash.is_empty())
}

/// Returns the images of a document, by product, newest version first; and the entries that servers
/// ignore.
pub fn images_of(products: &Products) -> (Vec<Image>, Vec<Problem>) {
    let mut found = Found::default();
    for (key, product) in &products.products {
        let Some(architecture) = debian_name(&product.arch) else {
            let problem = format!("unknown architecture {:?}", product.arch);
            found.problems.push(Problem::new(Location::product(key), problem));
            continue;
        };
        for (serial, version) in product.versions.iter().rev() {
            let Some(date) = date(serial) else {
                let problem = "does not begin with a date such as 20261124, so servers skip it";
                found.problems.push(Problem::new(Location::version(key, serial), problem));
                continue;
            };
            found.version(&About { key, product, serial, version, date, architecture });
        }
    }
    (found.images, found.problems)
}

fn date(serial: &str) -> Option<Date> {
    Date::strptime("%Y%m%d", serial.get(..8)?).ok()
}

struct About<'a> {
    key: &'a str,
    product: &'a Product,
    serial: &'a str,
    version: &'a Version,
    date: Date,
    architecture: &'static str,
}

#[derive(Default)]
struct Found {
    images: Vec<Image>,
    problems: Vec<Problem>,
}

impl Found {
    fn version(&mut self, about: &About<'_>) {
        let first = self.images.len();
        let mut sound: BTreeMap<&str, &Item> = BTreeMap::new();
        for (key, item) in &about.version.items {
            if metadata_type(&item.ftype).is_none() && root_type(&item.ftype).is_none() {
                continue;
            }
            match item_problem(item) {
                None => _ = sound.insert(key, item),
                Some(problem) => self.problem(about, key, problem),
            }
        }
        let mut used: Vec<&str> = Vec::new();
        for (key, item) in &sound {
            let Some(kind) = metadata_type(&item.ftype) else { continue };
            if kind.unified {
                match &item.sha256 {
                    Some(hash) => self.add(about, first, &kind, (key, item), None, hash),
                    None => self.problem(about, key, "has no sha256".to_owned()),
                }
                continue;
            }
            let mut has_root = false;
            for (root_key, root) in &sound {
                if let Some(hash) = combined(item, &root.ftype) {
                    has_root = true;
                    used.push(root_key);
                    if is_sha256(hash) {
                        self.add(about, first, &kind, (key, item), Some((root_key, root)), hash);
                    } else {
                        let problem = format!("the combined hash {hash:?} is not a SHA-256");
                        self.problem(about, key, problem);
                    }
                }
            }
            if !has_root {
                let problem =
                    "has no combined hash for a root filesystem or disk of the same version";
                self.problem(about, key, problem.to_owned());
            }
        }
        for (key, item) in &sound {
            if root_type(&item.ftype).is_some() && !used.contains(key) {
                let problem = "no metadata item has a combined hash for it";
                self.problem(about, key, problem.to_owned());
            }
        }
    }

    fn problem(&mut self, about: &About<'_>, item: &str, problem: String) {
        self.problems.push(Problem::new(Location::item(about.key, about.serial, item), problem));
    }

    /// Adds an image; if the version already has it, only marks it for the other server.
    fn add(
        &mut self,
        about: &About<'_>,
        first: usize,
        kind: &Metadata,
        (key, item): (&str, &Item),
        root: Option<(&&str, &&Item)>,
        fingerprint: &str,
    ) {
        let known = self.images[first..].iter_mut().find(|image| image.fingerprint == fingerprint);
        if let Some(image) = known {
            image.for_incus |= kind.for_incus;
            image.for_lxd |= kind.for_lxd;
            return;
        }
        let image_type = match root {
            Some((_, root)) => root_type(&root.ftype),
            None => (item.combined_type.as_deref() == Some("virtual-machine"))
                .then_some(ImageType::VirtualMachine),
        };
        let product = about.product;
        self.images.push(Image {
            product: about.key.to_owned(),
            version: about.serial.to_owned(),
            fingerprint: fingerprint.to_owned(),
            image_type: image_type.unwrap_or(ImageType::Container),
            architecture: about.architecture.to_owned(),
            aliases: product.alias_list().map(str::to_owned).collect(),
            os: product.os.clone(),
            release: product.release.clone(),
            variant: product.variant.clone(),
            date: about.date,
            size: item.size.saturating_add(root.map_or(0, |(_, root)| root.size)),
            metadata: file(key, item),
            root: root.map(|(key, root)| file(key, root)),
            for_incus: kind.for_incus,
            for_lxd: kind.for_lxd,
            properties: about.version.capn_properties.clone(),
        });
    }
}

fn file(key: &str, item: &Item) -> File {
    File {
        item: key.to_owned(),
        ftype: item.ftype.clone(),
        path: item.path.clone(),
        size: item.size,
        sha256: item.sha256.clone(),
    }
}

fn item_problem(item: &Item) -> Option<String> {
    if item.path.is_empty() {
        return Some("has no path".to_owned());
    }
    if !is_inside(&item.path) {
        return Some(format!("the path {:?} is outside of the tree", item.path));
    }
    match &item.sha256 {
        Some(hash) if !is_sha256(hash) => Some(format!("the sha256 {hash:?} is not a SHA-256")),
        _ => None,
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a path is inside the root of its tree.
pub(super) fn is_inside(path: &str) -> bool {
    !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests;
