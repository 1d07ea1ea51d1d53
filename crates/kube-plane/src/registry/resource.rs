//! A resource in one version.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::{
    jsonpath::JsonPath,
    schema::{Rules, Schema},
    store::{NAMESPACES, Object},
};

/// Supported verbs of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// All verbs.
    Full,
    /// Read verbs, for a list that is always empty.
    Empty,
    /// Only create, which is answered without storing anything.
    Review,
}

/// Relation of the stored JSON to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// It is this version.
    Same,
    /// Only `apiVersion` and the schema differ.
    Version,
    /// `events.k8s.io/v1` over core events.
    EventsV1,
}

/// Rules for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    Subdomain,
    Label,
    /// Any valid path segment.
    Path,
}

/// A column of a table.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) format: Box<str>,
    pub(crate) description: Box<str>,
    pub(crate) priority: i32,
    pub(crate) source: Source,
}

/// Source of a cell.
#[derive(Debug)]
pub(crate) enum Source {
    Path(JsonPath),
    /// Number of entries of the map or list at a path.
    Count(&'static [&'static str]),
    /// For events.
    LastSeen,
    InvolvedObject,
    /// For bindings.
    RoleRef,
}

/// Paths of the scale subresource, each as fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) spec: Box<str>,
    pub(crate) status: Box<str>,
    pub(crate) selector: Option<Box<str>>,
}

/// Source of the schema.
#[derive(Clone, Debug)]
pub(crate) enum SchemaSource {
    /// No schema: anything is valid.
    None,
    /// Generated from the Rust type.
    Type(fn() -> Value),
    /// A version of a definition: its object, and the index of the version.
    Definition(Arc<Object>, usize),
}

impl SchemaSource {
    /// Returns the OpenAPI schema.
    pub(crate) fn load(&self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Type(make) => Some(make()),
            Self::Definition(object, index) => {
                let mut value = object.value().ok()?;
                let version = value.pointer_mut(&format!("/spec/versions/{index}/schema"))?;
                version.get_mut("openAPIV3Schema").map(Value::take)
            }
        }
    }
}

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) schema: Schema,
    source: SchemaSource,
    rules: OnceLock<Option<Rules>>,
}

impl Compiled {
    /// Returns the rules, which are compiled on first use because that takes longer than the
    /// schema.
    pub(crate) fn rules(&self) -> Option<&Rules> {
        let compile = || self.source.load().as_ref().and_then(Rules::compile);
        self.rules.get_or_init(compile).as_ref()
    }
}

/// A resource in one version.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: Box<str>,
    pub(crate) version: Box<str>,
    pub(crate) plural: Box<str>,
    pub(crate) singular: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) list_kind: Box<str>,
    pub(crate) short_names: Box<[Box<str>]>,
    pub(crate) categories: Box<[Box<str>]>,
    pub(crate) namespaced: bool,
    pub(crate) access: Access,
    pub(crate) name_rule: NameRule,
    /// Key of its objects in the store: `plural.group`.
    pub(crate) storage: Arc<str>,
    pub(crate) storage_api_version: Box<str>,
    pub(crate) form: Form,
    pub(crate) status: bool,
    pub(crate) scale: Option<Scale>,
    pub(crate) columns: Box<[Column]>,
    pub(crate) selectable: Box<[Box<str>]>,
    /// Whether PUT without a resourceVersion is allowed.
    pub(crate) unconditional: bool,
    /// Whether `metadata.generation` counts changes of the spec.
    pub(crate) generation: bool,
    /// Whether it is a built-in kind, which allows strategic merge patches.
    pub(crate) builtin: bool,
    pub(crate) deprecation: Option<Box<str>>,
    /// Whether the definition is being deleted, so that no objects can be created.
    pub(crate) terminating: bool,
    pub(crate) source: SchemaSource,
    /// Id of the schema, see [`Object::agrees_with`].
    pub(crate) schema_id: u64,
    pub(crate) compiled: OnceLock<Arc<Compiled>>,
}

impl Resource {
    /// `v1` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `plural.group`, for messages.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Returns whether all objects of a collection can be deleted at once. As in Kubernetes, not
    /// for namespaces: a request without a name by mistake would delete everything.
    pub(crate) fn has_collection_delete(&self) -> bool {
        self.access == Access::Full && *self.storage != *NAMESPACES
    }

    /// Returns the schema, compiled on first use.
    pub(crate) fn compiled(&self) -> &Arc<Compiled> {
        self.compiled.get_or_init(|| {
            let anything = || Schema { preserve_unknown: true, ..Schema::default() };
            let schema = self.source.load().as_ref().map_or_else(anything, Schema::parse);
            Arc::new(Compiled { schema, source: self.source.clone(), rules: OnceLock::new() })
        })
    }

    /// Returns the schema ID that stored JSON agrees with after a write in this version.
    pub(crate) fn schema_of_writes(&self) -> u64 {
        if self.form == Form::Same { self.schema_id } else { 0 }
    }

    /// Returns whether a new state of the definition serves the same resource.
    pub(super) fn same_definition(&self, new: Option<&Self>) -> bool {
        let (Some(new), SchemaSource::Definition(old, _)) = (new, &self.source) else {
            return false;
        };
        let SchemaSource::Definition(object, _) = &new.source else { return false };
        self.terminating == new.terminating && spec_of(old) == spec_of(object)
    }
}

fn spec_of(object: &Object) -> Option<Value> {
    object.value().ok()?.get_mut("spec").map(Value::take)
}

/// `v1` or `group/version`.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
