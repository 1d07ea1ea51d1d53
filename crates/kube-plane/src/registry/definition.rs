//! Custom resource definitions: served resources, defaults and validation.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Access, Column, Form, NameRule, Resource, Scale, SchemaSource, Source, builtin,
    resource::api_version,
};
use crate::{
    admission::{FieldError, FieldErrorKind},
    json,
    jsonpath::JsonPath,
    meta, names,
    schema::Problems,
    store::Object,
};

/// Resource of definitions in the store.
pub(crate) const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Finalizer that waits until the objects are deleted.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Maximum number of versions of a definition, and of columns of a version.
const MAX_VERSIONS: usize = 50;
const MAX_COLUMNS: usize = 50;

/// A definition without its schemas, which are large and parsed on demand.
#[derive(Deserialize)]
struct View {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    group: Box<str>,
    names: Names,
    scope: Box<str>,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    plural: Box<str>,
    kind: Box<str>,
    #[serde(default)]
    singular: Option<Box<str>>,
    #[serde(default)]
    list_kind: Option<Box<str>>,
    #[serde(default)]
    short_names: Option<Box<[Box<str>]>>,
    #[serde(default)]
    categories: Option<Box<[Box<str>]>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    name: Box<str>,
    served: bool,
    storage: bool,
    #[serde(default)]
    deprecated: Option<bool>,
    #[serde(default)]
    deprecation_warning: Option<Box<str>>,
    #[serde(default)]
    subresources: Option<Subresources>,
    #[serde(default)]
    additional_printer_columns: Option<Vec<PrinterColumn>>,
    #[serde(default)]
    selectable_fields: Option<Vec<SelectableField>>,
}

#[derive(Deserialize)]
struct Subresources {
    #[serde(default)]
    status: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    scale: Option<ScalePaths>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScalePaths {
    spec_replicas_path: Box<str>,
    status_replicas_path: Box<str>,
    #[serde(default)]
    label_selector_path: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrinterColumn {
    name: Box<str>,
    #[serde(rename = "type")]
    kind: Box<str>,
    #[serde(default)]
    format: Option<Box<str>>,
    #[serde(default)]
    description: Option<Box<str>>,
    #[serde(default)]
    priority: Option<i32>,
    json_path: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectableField {
    json_path: Box<str>,
}

/// Returns the served versions of a stored definition.
pub(super) fn resources(
    object: &Arc<Object>,
    schemas: &AtomicU64,
) -> Result<Vec<Resource>, serde_json::Error> {
    let View { spec } = serde_json::from_slice(&object.raw)?;
    let storage_version = spec.versions.iter().find(|version| version.storage);
    let storage_version = storage_version.map_or("", |version| &version.name);
    let stored = api_version(&spec.group, storage_version);
    let storage: Arc<str> = Arc::clone(&object.key.name);
    let Names { plural, kind, singular, list_kind, short_names, categories } = spec.names;
    let mut resources = Vec::new();
    for (index, version) in spec.versions.iter().enumerate() {
        if !version.served {
            continue;
        }
        let subresources = version.subresources.as_ref();
        resources.push(Resource {
            group: spec.group.clone(),
            version: version.name.clone(),
            plural: plural.clone(),
            singular: singular.clone().unwrap_or_else(|| kind.to_lowercase().into()),
            kind: kind.clone(),
            list_kind: list_kind.clone().unwrap_or_else(|| format!("{kind}List").into()),
            short_names: short_names.clone().unwrap_or_default(),
            categories: categories.clone().unwrap_or_default(),
            namespaced: &*spec.scope == "Namespaced",
            access: Access::Full,
            name_rule: NameRule::Subdomain,
            storage: Arc::clone(&storage),
            storage_api_version: stored.as_str().into(),
            form: if version.storage { Form::Same } else { Form::Version },
            status: subresources.is_some_and(|s| s.status.is_some()),
            scale: subresources.and_then(|s| s.scale.as_ref()).map(|scale| Scale {
                spec: scale.spec_replicas_path.trim_start_matches('.').into(),
                status: scale.status_replicas_path.trim_start_matches('.').into(),
                selector: scale
                    .label_selector_path
                    .as_ref()
                    .map(|path| path.trim_start_matches('.').into()),
            }),
            columns: columns(version),
            selectable: version
                .selectable_fields
                .iter()
                .flatten()
                .map(|field| field.json_path.trim_start_matches('.').into())
                .collect(),
            unconditional: false,
            generation: true,
            builtin: false,
            deprecation: version.deprecated.unwrap_or(false).then(|| {
                version.deprecation_warning.clone().unwrap_or_else(|| {
                    format!("{}/{} {kind} is deprecated", spec.group, version.name).into()
                })
            }),
            terminating: object.deleting,
            source: SchemaSource::Definition(Arc::clone(object), index),
            schema_id: schemas.fetch_add(1, Ordering::Relaxed),
            compiled: OnceLock::new(),
        });
    }
    Ok(resources)
}

fn columns(version: &Version) -> Box<[Column]> {
    let Some(columns) = &version.additional_printer_columns else {
        return Box::new([builtin::age()]);
    };
    columns
        .iter()
        .filter_map(|column| {
            Some(Column {
                name: column.name.clone(),
                kind: column.kind.clone(),
                format: column.format.clone().unwrap_or_default(),
                description: column.description.clone().unwrap_or_default(),
                priority: column.priority.unwrap_or(0),
                source: Source::Path(JsonPath::parse(&column.json_path)?),
            })
        })
        .collect()
}

/// Decodes a definition strictly. Returns the error, or the paths of unknown fields, which are
/// removed.
pub(crate) fn decode(value: &mut Value) -> Result<Vec<String>, serde_json::Error> {
    let typed = CustomResourceDefinition::deserialize(&*value)?;
    let known = serde_json::to_value(typed)?;
    let mut unknown = Vec::new();
    prune(value, &known, &mut json::Path::default(), &mut unknown);
    Ok(unknown)
}

/// Removes fields that the type does not know.
fn prune(value: &mut Value, known: &Value, path: &mut json::Path, unknown: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(fields), Value::Object(known)) => {
            fields.retain(|name, value| match known.get(name) {
                Some(known) => {
                    path.field(name, |path| prune(value, known, path, unknown));
                    true
                }
                None if is_empty(value) => !value.is_null(),
                None => {
                    meta::note(unknown, || path.with(name));
                    false
                }
            });
        }
        (Value::Array(items), Value::Array(known)) => {
            for (index, (value, known)) in items.iter_mut().zip(known).enumerate() {
                path.index(index, |path| prune(value, known, path, unknown));
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Sets the defaults of the API server: names, conversion, and the status, since the plane
/// establishes a definition at once.
pub(crate) fn complete(value: &mut Value, old: Option<&Value>, now: &str) {
    let kind = json::text(value, &["spec", "names", "kind"]).to_owned();
    if let Some(names) = json_object(value, &["spec", "names"]) {
        names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
        names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
    }
    if let Some(spec) = json_object(value, &["spec"]) {
        let strategy = json!({"strategy": "None"});
        spec.entry("conversion").or_insert(strategy);
    }
    let names = json::at(value, &["spec", "names"]).cloned().unwrap_or_default();
    let storage = json::at(value, &["spec", "versions"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|version| version.get("storage") == Some(&Value::Bool(true)))
        .and_then(|version| version.get("name"))
        .cloned();
    let old_status = old.and_then(|old| old.get("status"));
    let mut versions = old_status
        .and_then(|status| status.get("storedVersions"))
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if let Some(storage) = storage
        && !versions.contains(&storage)
    {
        versions.push(storage);
    }
    let mut conditions = old_status
        .and_then(|status| status.get("conditions"))
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for (kind, reason, message) in [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ] {
        if !conditions.iter().any(|condition| condition["type"] == kind) {
            conditions.push(json!({
                "type": kind, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": now,
            }));
        }
    }
    json::set(
        value,
        &["status"],
        json!({"acceptedNames": names, "conditions": conditions, "storedVersions": versions}),
    );
}

fn json_object<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(value, |value, field| value.get_mut(*field))?.as_object_mut()
}

/// Validates a definition.
pub(crate) fn validate(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = ["spec"];
    let group = json::text(value, &["spec", "group"]);
    let plural = json::text(value, &["spec", "names", "plural"]);
    let expected = format!("{plural}.{group}");
    if !names::is_subdomain(group) || !group.contains('.') {
        errors.push(FieldError::invalid(
            "spec.group",
            group.into(),
            "should be a domain with at least one dot",
        ));
    }
    if builtin::GROUPS.contains(&group) {
        errors.push(FieldError::forbidden("spec.group", "the group is served by the plane itself"));
    }
    if json::text(value, &["metadata", "name"]) != expected {
        errors.push(FieldError::invalid(
            "metadata.name",
            json::text(value, &["metadata", "name"]).into(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if !names::is_label(plural) {
        errors.push(FieldError::invalid("spec.names.plural", plural.into(), names::LABEL_RULE));
    }
    if json::text(value, &["spec", "names", "kind"]).is_empty() {
        errors.push(FieldError::required("spec.names.kind", ""));
    }
    if !matches!(json::text(value, &["spec", "scope"]), "Namespaced" | "Cluster") {
        errors.push(FieldError::invalid(
            "spec.scope",
            json::text(value, &["spec", "scope"]).into(),
            "supported values: \"Cluster\", \"Namespaced\"",
        ));
    }
    if json::text(value, &["spec", "conversion", "strategy"]) == "Webhook" {
        errors.push(FieldError::forbidden(
            "spec.conversion.strategy",
            "this server has no conversion webhooks",
        ));
    }
    let versions = json::at(value, &["spec", "versions"]).and_then(Value::as_array);
    let versions = versions.map(Vec::as_slice).unwrap_or_default();
    let storage = versions.iter().filter(|v| v["storage"] == Value::Bool(true)).count();
    if versions.len() > MAX_VERSIONS {
        let why = format!("must have at most {MAX_VERSIONS} items");
        errors.push(FieldError::plain("spec.versions", FieldErrorKind::TooMany, why));
        return errors;
    }
    if storage != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            versions.iter().map(|v| v["name"].clone()).collect(),
            "must have exactly one version marked as storage version",
        ));
    }
    let mut problems = Problems::default();
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        match json::at(version, &["schema", "openAPIV3Schema"]) {
            None => errors.push(FieldError::required(
                format!("{path}.schema.openAPIV3Schema"),
                "schemas are required",
            )),
            Some(schema) => {
                let path = format!("{path}.schema.openAPIV3Schema");
                if json::text(schema, &["type"]) != "object" {
                    errors.push(FieldError::invalid(
                        format!("{path}.type"),
                        json::text(schema, &["type"]).into(),
                        "must be object at the root",
                    ));
                }
                problems.visit(schema, &path);
            }
        }
        let columns = version["additionalPrinterColumns"].as_array();
        if columns.is_some_and(|columns| columns.len() > MAX_COLUMNS) {
            let place = format!("{path}.additionalPrinterColumns");
            let why = format!("must have at most {MAX_COLUMNS} items");
            errors.push(FieldError::plain(place, FieldErrorKind::TooMany, why));
        }
        for (column_index, column) in columns.into_iter().flatten().take(MAX_COLUMNS).enumerate() {
            let text = json::text(column, &["jsonPath"]);
            if JsonPath::parse(text).is_none() {
                errors.push(FieldError::invalid(
                    format!("{path}.additionalPrinterColumns[{column_index}].jsonPath"),
                    text.into(),
                    "is not a JSON path this server knows",
                ));
            }
        }
    }
    errors.extend(problems.finish());
    if let Some(old) = old {
        for field in [&["group"][..], &["names", "plural"], &["names", "kind"], &["scope"]] {
            let path = [&spec[..], field].concat();
            let (new, old) = (json::text(value, &path), json::text(old, &path));
            if new != old {
                errors.push(FieldError::invalid(path.join("."), new.into(), "field is immutable"));
            }
        }
    }
    errors
}
