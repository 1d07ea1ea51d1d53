//! Structural schemas of custom resources, compact in memory.
//!
//! [`Schema::parse`] reads OpenAPI v3 as it is in a `CustomResourceDefinition` (or as schemars
//! makes it for the built-in kinds). [`prune`], [`default`] and [`validate`] walk an object with it.

mod cel;
mod defaults;
mod formats;
mod found;
mod parse;
mod pattern;
mod problems;
mod prune;
mod validate;

use serde_json::Value;

use self::pattern::Pattern;
pub(crate) use self::{
    cel::Rules,
    defaults::default,
    problems::Problems,
    prune::prune,
    validate::{list_key, validate},
};

/// The JSON type a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// How server-side apply merges a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// A schema node.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    /// Sorted by name.
    pub(crate) properties: Box<[(Box<str>, Schema)]>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Box<Value>>,
    /// This node or one below has a default.
    pub(crate) defaults: bool,
    pub(crate) list_type: ListType,
    pub(crate) list_keys: Box<[Box<str>]>,
    pub(crate) atomic_map: bool,
    pub(crate) limits: Option<Box<Limits>>,
}

/// Fields that are not among the properties.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// Unknown fields, to be pruned.
    #[default]
    Unknown,
    /// Anything.
    Any,
    /// A map of values.
    Of(Box<Schema>),
}

/// What a value has to satisfy beside its type.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) required: Box<[Box<str>]>,
    pub(crate) choices: Option<Box<[Value]>>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) format: Option<Box<str>>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) all_of: Box<[Schema]>,
    pub(crate) any_of: Box<[Schema]>,
    pub(crate) one_of: Box<[Schema]>,
    pub(crate) not: Option<Box<Schema>>,
}

impl Schema {
    /// The schema of a property.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        let found = self.properties.binary_search_by(|(property, _)| (**property).cmp(name));
        found.ok().and_then(|index| self.properties.get(index)).map(|(_, schema)| schema)
    }

    /// The schema of a field: a property, or a value of a map.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or(match &self.additional {
            Additional::Of(schema) => Some(schema),
            Additional::Unknown | Additional::Any => None,
        })
    }
}

#[cfg(test)]
mod tests;
