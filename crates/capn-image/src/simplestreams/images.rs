//! The images of a document, as Incus and LXD see them. Pure.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;

use super::architecture::debian_name;
use super::document::{Item, Product, Products, Version};
use super::problem::{Place, Problem};

mod selection;

pub use selection::{SelectError, Selection, select};

/// What an image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageType {
    /// A system container.
    Container,
    /// A virtual machine.
    VirtualMachine,
}

impl ImageType {
    /// The word of the servers' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
        }
    }
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Key of its item.
    pub item: String,
    /// Type of its item.
    pub ftype: String,
    /// Below the root of the tree.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, if the document says it.
    pub sha256: Option<String>,
}

/// One image of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Key of the product.
    pub product: String,
    /// Key of the version, which servers show as the serial.
    pub version: String,
    /// SHA-256 of its files one after the other.
    pub fingerprint: String,
    /// What it becomes.
    #[serde(rename = "type")]
    pub image_type: ImageType,
    /// Debian's name: `amd64`.
    pub architecture: String,
    /// Names of the product. They lead to its newest version.
    pub aliases: Vec<String>,
    /// `debian`.
    pub os: String,
    /// `bookworm`.
    pub release: String,
    /// `kubeadm`.
    pub variant: String,
    /// From the version's key.
    pub date: Date,
    /// Of all files, bytes.
    pub size: u64,
    /// Metadata, or the whole image.
    pub metadata: File,
    /// Root filesystem or disk.
    pub root: Option<File>,
    /// Whether Incus finds it.
    pub for_incus: bool,
    /// Whether LXD finds it.
    pub for_lxd: bool,
    /// Our properties, where the image is one of ours.
    pub properties: BTreeMap<String, String>,
}

impl Image {
    /// Whether it runs on an architecture with this name, Debian's or the kernel's.
    pub fn is_of_architecture(&self, name: &str) -> bool {
        debian_name(name).unwrap_or(name) == self.architecture
    }
}

/// Which servers read a metadata item, and whether it is the whole image.
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

/// What a root filesystem or disk becomes.
pub(super) fn root_type(ftype: &str) -> Option<ImageType> {
    match ftype {
        "squashfs" | "root.tar.xz" => Some(ImageType::Container),
        "disk-kvm.img" | "disk1.img" | "uefi1.img" => Some(ImageType::VirtualMachine),
        _ => None,
    }
}

/// The fingerprint a metadata item gives an image with such a root.
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

/// The images of a document, by product, and newest version first; and what is in it that no
/// server makes an image of.
pub fn images_of(products: &Products) -> (Vec<Image>, Vec<Problem>) {
    let mut found = Found::default();
    for (key, product) in &products.products {
        let Some(architecture) = debian_name(&product.arch) else {
            let problem = format!("architecture {:?} is unknown", product.arch);
            found.problems.push(Problem::new(Place::product(key), problem));
            continue;
        };
        for (serial, version) in product.versions.iter().rev() {
            let Some(date) = date(serial) else {
                let problem = "does not begin with a date, as 20261124; servers skip it";
                found.problems.push(Problem::new(Place::version(key, serial), problem));
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
                let problem = "has no combined hash for a root filesystem or disk beside it";
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
        self.problems.push(Problem::new(Place::item(about.key, about.serial, item), problem));
    }

    /// Adds an image; one that the version has already is only marked for the other server.
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
        return Some(format!("the path {:?} leads out of the tree", item.path));
    }
    match &item.sha256 {
        Some(hash) if !is_sha256(hash) => Some(format!("the sha256 {hash:?} is not a SHA-256")),
        _ => None,
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path stays below the root of its tree.
pub(super) fn is_inside(path: &str) -> bool {
    !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests;
