//! Problems in a tree, and their location. Pure.

use std::fmt;

use serde::Serialize;
use serde_path_to_error::Segment;

/// A location in a document. Absent fields do not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Location {
    /// Key of the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Key of the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Key of the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Name of the field, with its parents below the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Location {
    /// Returns the location of a product.
    pub fn product(product: &str) -> Self {
        Self { product: Some(product.to_owned()), ..Self::default() }
    }

    /// Returns the location of a version.
    pub fn version(product: &str, version: &str) -> Self {
        Self { version: Some(version.to_owned()), ..Self::product(product) }
    }

    /// Returns the location of an item.
    pub fn item(product: &str, version: &str, item: &str) -> Self {
        Self { item: Some(item.to_owned()), ..Self::version(product, version) }
    }

    /// Converts from `products.KEY.versions.KEY.items.KEY.FIELD`; keys may contain dots.
    pub(super) fn of_path(path: &serde_path_to_error::Path) -> Self {
        let keys: Vec<String> = path
            .iter()
            .map(|segment| match segment {
                Segment::Map { key } => key.clone(),
                Segment::Seq { index } => index.to_string(),
                Segment::Enum { variant } => variant.clone(),
                Segment::Unknown => "?".to_owned(),
            })
            .collect();
        let mut rest = keys.as_slice();
        let mut under = |name: &str| match rest {
            [first, key, more @ ..] if first == name => {
                rest = more;
                Some(key.clone())
            }
            _ => None,
        };
        let product = under("products");
        let version = under("versions");
        let item = under("items");
        let field = (!rest.is_empty()).then(|| rest.join("."));
        Self { product, version, item, field }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("product", &self.product),
            ("version", &self.version),
            ("item", &self.item),
            ("field", &self.field),
        ];
        let mut is_first = true;
        for (what, name) in parts {
            if let Some(name) = name {
                let comma = if is_first { "" } else { ", " };
                write!(f, "{comma}{what} {name}")?;
                is_first = false;
            }
        }
        if is_first { f.write_str("the document") } else { Ok(()) }
    }
}

/// A problem that makes an image, or a part of one, unusable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Location.
    #[serde(flatten)]
    pub location: Location,
    /// The problem, as a sentence without a full stop.
    pub problem: String,
}

impl Problem {
    /// Creates a problem at a location.
    pub fn new(location: Location, problem: impl Into<String>) -> Self {
        Self { location, problem: problem.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.problem)
    }
}
