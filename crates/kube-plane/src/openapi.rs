//! OpenAPI documents.

use serde_json::{Value, json};

use crate::registry::Tables;

pub(crate) fn index(_tables: &Tables) -> Value {
    json!({"paths": {}})
}

pub(crate) fn document(_tables: &Tables, _group: &str, _version: &str) -> Option<Value> {
    None
}

pub(crate) fn v2(_tables: &Tables) -> Value {
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.0"}, "paths": {}, "definitions": {}})
}
