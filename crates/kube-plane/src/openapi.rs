//! OpenAPI v3 documents, for `kubectl explain`, and for `kubectl apply`, which checks them before
//! it uses server-side validation and dry runs.

use bytes::Bytes;
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::registry::{
    Access, CRDS, Resource, SchemaSource, Tables, schema_with_parts, type_schema,
};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Media type of OpenAPI v2 as requested by Go clients.
pub(crate) const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Returns the index of documents. The hash in each URL changes with the content.
pub(crate) fn index(tables: &Tables) -> Value {
    let mut paths = Map::new();
    for (group, versions) in tables.groups() {
        for version in versions {
            let name = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let hash = hash(tables, group, version);
            let address = json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")});
            paths.insert(name, address);
        }
    }
    json!({"paths": paths})
}

fn hash(tables: &Tables, group: &str, version: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for resource in tables.of(group, version) {
        hash.update(resource.plural.as_bytes());
        if let SchemaSource::Definition(object, _) = &resource.source {
            hash.update(object.uid.as_bytes());
            hash.update(object.revision.to_be_bytes());
        }
    }
    hex::encode_upper(hash.finalize())
}

/// Returns an empty OpenAPI v2 document. As protobuf, it has no bytes.
pub(crate) fn v2(protobuf: bool) -> Bytes {
    if protobuf {
        return Bytes::new();
    }
    json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": {},
        "definitions": {},
    })
    .to_string()
    .into()
}

/// Returns the document of a group and version.
pub(crate) fn document(tables: &Tables, group: &str, version: &str) -> Option<Value> {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for resource in tables.of(group, version) {
        let name = schema_name(resource);
        if *resource.storage == *CRDS {
            // Its schemas contain schemas, so they are distinguished by name.
            let (root, parts) = schema_with_parts::<CustomResourceDefinition>();
            schemas.extend(parts);
            schemas.insert(name.clone(), complete(resource, root));
        } else if !schemas.contains_key(&name) {
            let schema = resource.source.load().unwrap_or_else(
                || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            );
            schemas.insert(name.clone(), complete(resource, schema));
        }
        add_paths(resource, &name, &mut paths);
    }
    if paths.is_empty() {
        return None;
    }
    schemas.insert(METADATA.to_owned(), type_schema::<ObjectMeta>());
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// `org.example.v1.Widget`, or `io.k8s.api.core.v1.Secret`.
fn schema_name(resource: &Resource) -> String {
    if resource.builtin {
        let group = resource.group.split('.').next().filter(|group| !group.is_empty());
        let group = group.unwrap_or("core");
        return format!("io.k8s.api.{group}.{}.{}", resource.version, resource.kind);
    }
    let mut parts: Vec<&str> = resource.group.split('.').rev().collect();
    parts.extend([&*resource.version, &*resource.kind]);
    parts.join(".")
}

fn gvk(resource: &Resource) -> Value {
    json!({
        "group": &*resource.group, "version": &*resource.version, "kind": &*resource.kind,
    })
}

/// Returns a schema with the common fields of all objects.
fn complete(resource: &Resource, mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        for field in ["$schema", "title"] {
            fields.remove(field);
        }
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        properties["apiVersion"] = json!({
            "type": "string",
            "description": "APIVersion defines the versioned schema of this representation of an \
                object.",
        });
        properties["kind"] = json!({
            "type": "string",
            "description": "Kind is a string value representing the REST resource this object \
                represents.",
        });
        properties["metadata"] = json!({
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": format!("#/components/schemas/{METADATA}")}],
        });
        fields.insert("x-kubernetes-group-version-kind".to_owned(), json!([gvk(resource)]));
    }
    schema
}

fn add_paths(resource: &Resource, schema: &str, paths: &mut Map<String, Value>) {
    let base = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{scope}/{}", resource.plural);
    let operation = |action: &str, parameters: &[&str], content: &[&str]| {
        let reference = json!({"$ref": format!("#/components/schemas/{schema}")});
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        let mut operation = json!({
            "tags": [], "parameters": parameters,
            "responses": {"200": {
                "description": "OK", "content": {"application/json": {"schema": reference}},
            }},
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(resource),
        });
        if !content.is_empty() {
            let content: Map<String, Value> = content
                .iter()
                .map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "object"}})))
                .collect();
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        operation
    };
    const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
    let json = ["application/json"];
    if resource.access == Access::Review {
        paths.insert(collection, json!({"post": operation("post", &WRITE, &json)}));
        return;
    }
    let list = ["labelSelector", "fieldSelector", "limit", "continue", "watch"];
    let mut on_collection = json!({"get": operation("list", &list, &[])});
    let mut on_item = json!({"get": operation("get", &[], &[])});
    if resource.access == Access::Full {
        on_collection["post"] = operation("post", &WRITE, &json);
        on_collection["delete"] = operation("deletecollection", &["dryRun"], &[]);
        on_item["put"] = operation("put", &WRITE, &json);
        on_item["patch"] = operation(
            "patch",
            &["dryRun", "fieldManager", "fieldValidation", "force"],
            &[
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
            ],
        );
        on_item["delete"] = operation("delete", &["dryRun", "propagationPolicy"], &[]);
    }
    if resource.namespaced {
        let all = json!({"get": operation("list", &list, &[])});
        paths.insert(format!("{base}/{}", resource.plural), all);
    }
    paths.insert(format!("{collection}/{{name}}"), on_item);
    paths.insert(collection, on_collection);
}
