//! Common parts of Cluster API definitions: contract labels, category, columns, and schemas that
//! the derive macros cannot express.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::labels;

/// Pattern of a DNS-1123 subdomain: names of most objects, API groups.
pub const DNS1123_SUBDOMAIN: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Pattern of a DNS-1123 label: names of namespaces.
pub const DNS1123_LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Pattern of a kind.
pub const KIND: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
/// Pattern of a condition type: an optional domain and a qualified name.
pub const CONDITION_TYPE: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
/// Pattern of `group/version`.
pub const API_VERSION: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[a-z]([-a-z0-9]*[a-z0-9])?$";

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer` or `date`.
    pub kind: &'static str,
    /// JSON path into the object, starting with a dot.
    pub path: &'static str,
    /// 0 for every table, 10 for `-o wide`.
    pub priority: i32,
}

impl Column {
    /// Creates a column of text in every table.
    #[must_use]
    pub const fn text(name: &'static str, path: &'static str) -> Self {
        Self { name, kind: "string", path, priority: 0 }
    }

    /// Creates a column of whole numbers in every table.
    #[must_use]
    pub const fn count(name: &'static str, path: &'static str) -> Self {
        Self { name, kind: "integer", path, priority: 0 }
    }

    /// Creates a column with the time since a timestamp, in every table.
    #[must_use]
    pub const fn since(name: &'static str, path: &'static str) -> Self {
        Self { name, kind: "date", path, priority: 0 }
    }

    /// The same column, only in `-o wide`.
    #[must_use]
    pub const fn wide(self) -> Self {
        Self { priority: 10, ..self }
    }
}

/// The age of an object, as in every Cluster API kind.
pub const AGE: Column = Column::since("Age", ".metadata.creationTimestamp");
/// Whether reconciliation is paused.
pub const PAUSED: Column =
    Column::text("Paused", r#".status.conditions[?(@.type=="Paused")].status"#).wide();

/// Completes a definition with what Cluster API expects.
///
/// `provider` is the value of the label `cluster.x-k8s.io/provider`, such as `cluster-api` or
/// `infrastructure-incus`. The label `cluster.x-k8s.io/v1beta2` lists the served versions, to which
/// references without a version resolve.
#[must_use]
pub fn finish(
    mut crd: CustomResourceDefinition,
    provider: &str,
    columns: &[Column],
) -> CustomResourceDefinition {
    let served: Vec<&str> =
        crd.spec.versions.iter().filter(|v| v.served).map(|v| v.name.as_str()).collect();
    let contract = served.join("_");
    let labels = crd.metadata.labels.get_or_insert_with(BTreeMap::new);
    labels.insert(labels::CONTRACT_V1BETA2.to_owned(), contract);
    labels.insert(labels::PROVIDER.to_owned(), provider.to_owned());
    labels.insert(labels::CLUSTERCTL.to_owned(), String::new());
    crd.spec.names.categories = Some(vec!["cluster-api".to_owned()]);
    for version in &mut crd.spec.versions {
        let columns: Vec<_> = columns.iter().map(definition).collect();
        version.additional_printer_columns = (!columns.is_empty()).then_some(columns);
    }
    crd
}

fn definition(column: &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: column.name.to_owned(),
        type_: column.kind.to_owned(),
        json_path: column.path.to_owned(),
        priority: (column.priority != 0).then_some(column.priority),
        ..CustomResourceColumnDefinition::default()
    }
}

/// Returns the schema of `status.conditions`: a list that is a map by `type`.
#[must_use]
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let items = Condition::json_schema(generator);
    json_schema!({
        "type": "array",
        "items": items,
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// Returns the schema of an object with unknown fields.
#[must_use]
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Returns the schema of any JSON value.
#[must_use]
pub fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}
