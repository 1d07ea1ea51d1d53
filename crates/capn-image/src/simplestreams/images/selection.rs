//! Selection of an image by name.

use std::collections::BTreeSet;

use super::{Image, ImageType};
use crate::simplestreams::architecture::debian_name;

/// Criteria for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection<'a> {
    /// An alias, or a fingerprint prefix of at least 12 characters. As on servers,
    /// `ALIAS/ARCHITECTURE` is supported and overrides `architecture`.
    pub name: &'a str,
    /// Architecture by any of its names; `None` if there is only one.
    pub architecture: Option<&'a str>,
    /// Image type; `None` if there is only one.
    pub image_type: Option<ImageType>,
}

/// Error of a selection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No image has the name.
    #[error("image {name:?} does not exist")]
    Unknown {
        /// Requested name.
        name: String,
        /// At most twelve existing aliases, the most similar first.
        alike: Vec<String>,
    },
    /// The name exists for other architectures or types only.
    #[error("image {name:?} exists for {}, but not for {wanted}", found.join(", "))]
    OtherKind {
        /// Requested name.
        name: String,
        /// Requested architecture and type.
        wanted: String,
        /// Available architectures and types.
        found: Vec<String>,
    },
    /// The name exists for several architectures or types.
    #[error("image {name:?} exists for {}", found.join(", "))]
    Ambiguous {
        /// Requested name.
        name: String,
        /// Available architectures and types.
        found: Vec<String>,
    },
}

impl SelectError {
    /// Returns what the user can do about the error, if known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { alike, .. } if alike.is_empty() => None,
            Self::Unknown { alike, .. } => Some(format!("available: {}", alike.join(", "))),
            Self::OtherKind { .. } => None,
            Self::Ambiguous { .. } => Some("choose one with --architecture or --type".to_owned()),
        }
    }
}

/// Returns the newest image with a name.
///
/// # Errors
///
/// [`SelectError`] when there is none, or the criteria are ambiguous.
pub fn select<'a>(images: &'a [Image], wanted: &Selection<'_>) -> Result<&'a Image, SelectError> {
    let is_fingerprint =
        wanted.name.len() >= 12 && wanted.name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_fingerprint
        && let Some(image) = images.iter().find(|image| image.fingerprint.starts_with(wanted.name))
    {
        return Ok(image);
    }
    let has = |image: &&Image, alias: &str| image.aliases.iter().any(|known| known == alias);
    let mut named: Vec<&Image> = images.iter().filter(|image| has(image, wanted.name)).collect();
    let mut architecture = wanted.architecture;
    if named.is_empty()
        && let Some((alias, last)) = wanted.name.rsplit_once('/')
        && debian_name(last).is_some()
    {
        named = images.iter().filter(|image| has(image, alias)).collect();
        architecture = Some(last);
    }
    if named.is_empty() {
        return Err(SelectError::Unknown {
            name: wanted.name.to_owned(),
            alike: alike(images, wanted.name),
        });
    }
    let kind = |image: &Image| format!("{} {}", image.architecture, image.image_type.as_str());
    let kinds = |images: &[&Image]| -> Vec<String> {
        images.iter().map(|image| kind(image)).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let architecture = architecture.map(|name| debian_name(name).unwrap_or(name));
    let fitting: Vec<&Image> = named
        .iter()
        .copied()
        .filter(|image| architecture.is_none_or(|wanted| image.architecture == wanted))
        .filter(|image| wanted.image_type.is_none_or(|wanted| image.image_type == wanted))
        .collect();
    match kinds(&fitting).as_slice() {
        [] => {
            let parts = [architecture, wanted.image_type.map(ImageType::as_str)];
            Err(SelectError::OtherKind {
                name: wanted.name.to_owned(),
                wanted: parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
                found: kinds(&named),
            })
        }
        [_] => {
            // Servers prefer a squashfs if a version has both forms of a root filesystem.
            let rank = |image: &&Image| {
                let squashfs = image.root.as_ref().is_some_and(|root| root.ftype == "squashfs");
                (image.version.clone(), squashfs)
            };
            fitting.into_iter().max_by_key(rank).ok_or_else(|| SelectError::Unknown {
                name: wanted.name.to_owned(),
                alike: Vec::new(),
            })
        }
        _ => Err(SelectError::Ambiguous { name: wanted.name.to_owned(), found: kinds(&fitting) }),
    }
}

/// Aliases with the same beginning; else the first ones.
fn alike(images: &[Image], name: &str) -> Vec<String> {
    let all: BTreeSet<&str> =
        images.iter().flat_map(|image| &image.aliases).map(String::as_str).collect();
    let common = |alias: &str| alias.chars().zip(name.chars()).take_while(|(a, b)| a == b).count();
    let mut all: Vec<&str> = all.into_iter().collect();
    all.sort_by_key(|alias| std::cmp::Reverse(common(alias)));
    all.truncate(12);
    all.into_iter().map(str::to_owned).collect()
}
