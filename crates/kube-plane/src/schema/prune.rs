//! Pruning of fields that the schema does not declare.

use serde_json::Value;

use super::{Additional, Schema};
use crate::{json::Path, meta::note};

/// Removes unknown fields and returns their paths. `apiVersion`, `kind` and `metadata` of the root
/// and of embedded resources are always known.
pub(crate) fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(schema, value, &mut Path::default(), true, &mut unknown);
    unknown
}

fn walk(
    schema: &Schema,
    value: &mut Value,
    path: &mut Path,
    resource: bool,
    unknown: &mut Vec<String>,
) {
    match value {
        Value::Object(fields) => {
            let resource = resource || schema.embedded;
            fields.retain(|name, value| {
                if resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                let known = match (schema.property(name), &schema.additional) {
                    (Some(schema), _) => Some(schema),
                    (None, Additional::Of(schema)) => Some(&**schema),
                    (None, Additional::Any) => return true,
                    (None, Additional::Unknown) if schema.preserve_unknown => return true,
                    (None, Additional::Unknown) => None,
                };
                let Some(schema) = known else {
                    note(unknown, || path.with(name));
                    return false;
                };
                path.field(name, |path| walk(schema, value, path, false, unknown));
                true
            });
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter_mut().enumerate() {
                    path.index(index, |path| walk(schema, item, path, false, unknown));
                }
            }
        }
        _ => {}
    }
}
