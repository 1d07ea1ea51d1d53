//! Which image a name means.

use std::collections::BTreeSet;

use super::{Image, ImageType};
use crate::simplestreams::architecture::debian_name;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection<'a> {
    /// An alias, or the beginning of a fingerprint with 12 characters or more. `ALIAS/ARCHITECTURE`
    /// is understood as servers do, and wins over `architecture`.
    pub name: &'a str,
    /// With any of its names; `None` takes what there is, if there is one only.
    pub architecture: Option<&'a str>,
    /// `None` takes what there is, if there is one only.
    pub image_type: Option<ImageType>,
}

/// Why a name means no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nobody has that name.
    #[error("there is no image {name:?}")]
    Unknown {
        /// What was looked for.
        name: String,
        /// Aliases that are there, at most twelve, the most alike first.
        alike: Vec<String>,
    },
    /// The name is there, for others.
    #[error("image {name:?} is there for {}, not for {wanted}", found.join(", "))]
    OtherKind {
        /// What was looked for.
        name: String,
        /// Architecture and type.
        wanted: String,
        /// Architectures and types that are there.
        found: Vec<String>,
    },
    /// More than one kind has the name.
    #[error("image {name:?} is there for {}", found.join(", "))]
    Ambiguous {
        /// What was looked for.
        name: String,
        /// Architectures and types that are there.
        found: Vec<String>,
    },
}

impl SelectError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { alike, .. } if alike.is_empty() => None,
            Self::Unknown { alike, .. } => Some(format!("there are {}", alike.join(", "))),
            Self::OtherKind { .. } => None,
            Self::Ambiguous { .. } => Some("choose one with --architecture or --type".to_owned()),
        }
    }
}

/// The newest image with a name.
///
/// # Errors
///
/// When there is none, or it cannot be told which one is meant.
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
            // Servers prefer a squashfs where a version has both forms of a root filesystem.
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

/// Aliases that begin like the name; else the first of all.
fn alike(images: &[Image], name: &str) -> Vec<String> {
    let all: BTreeSet<&str> =
        images.iter().flat_map(|image| &image.aliases).map(String::as_str).collect();
    let common = |alias: &str| alias.chars().zip(name.chars()).take_while(|(a, b)| a == b).count();
    let mut all: Vec<&str> = all.into_iter().collect();
    all.sort_by_key(|alias| std::cmp::Reverse(common(alias)));
    all.truncate(12);
    all.into_iter().map(str::to_owned).collect()
}
