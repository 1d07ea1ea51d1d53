//! Strategic merge patch, for the built-in kinds.
//!
//! These kinds have few lists with merge keys: owner references by `uid`, finalizers as a set,
//! secrets and image pull secrets of service accounts by `name`, conditions by `type`. All other
//! lists are replaced. Supports `$patch: replace|delete`, `$retainKeys`, `$deleteFromPrimitiveList`
//! and `$setElementOrder`.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::status::{ApiError, Result};

/// Merge rule of a list.
enum ListRule {
    Replace,
    Set,
    Key(&'static str),
}

fn rule(field: &str) -> ListRule {
    match field {
        "finalizers" => ListRule::Set,
        "ownerReferences" => ListRule::Key("uid"),
        "secrets" | "imagePullSecrets" => ListRule::Key("name"),
        "conditions" => ListRule::Key("type"),
        _ => ListRule::Replace,
    }
}

/// Merges a patch into an object.
pub(super) fn merge(value: &mut Value, patch: &Value) -> Result<()> {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            let mut new = patch.clone();
            new.remove("$patch");
            *value = Value::Object(new);
            return Ok(());
        }
        Some("delete") => {
            *value = Value::Object(Map::new());
            return Ok(());
        }
        // Not quoted, because the patch may be that of a Secret.
        Some(_) => {
            return Err(ApiError::bad_request(
                "unknown patch directive: $patch is \"merge\", \"replace\" or \"delete\"",
            ));
        }
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(fields) = value.as_object_mut() else { return Ok(()) };
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        let keep: HashSet<&str> = keep.iter().filter_map(Value::as_str).collect();
        fields.retain(|name, _| keep.contains(&**name));
    }
    for (name, patch) in patch {
        if let Some(field) = name.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(items), Some(gone)) =
                (fields.get_mut(field).and_then(Value::as_array_mut), patch.as_array())
            {
                let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
                items.retain(|item| !gone.contains(&item.to_string()));
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        match patch {
            Value::Null => {
                fields.remove(name);
            }
            Value::Array(items) => {
                let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, items, &rule(name))?;
            }
            patch => merge(fields.entry(name).or_insert(Value::Null), patch)?,
        }
    }
    Ok(())
}

fn merge_list(list: &mut Value, patch: &[Value], rule: &ListRule) -> Result<()> {
    let current = list.as_array().cloned().unwrap_or_default();
    let directive = |item: &Value, word: &str| item.get("$patch").is_some_and(|p| p == word);
    if patch.iter().any(|item| directive(item, "replace")) {
        let items = patch.iter().filter(|item| !directive(item, "replace"));
        *list = items.cloned().collect();
        return Ok(());
    }
    let mut merged = current;
    match rule {
        ListRule::Replace => merged = patch.to_vec(),
        ListRule::Set => {
            let mut known: HashSet<String> = merged.iter().map(Value::to_string).collect();
            for item in patch {
                if known.insert(item.to_string()) {
                    merged.push(item.clone());
                }
            }
        }
        ListRule::Key(key) => {
            // Items without the key are equal to no other item.
            let identity = |item: &Value| item.get(key).map(Value::to_string);
            let deletes: HashSet<String> = patch
                .iter()
                .filter(|item| directive(item, "delete"))
                .filter_map(identity)
                .collect();
            merged.retain(|item| identity(item).is_none_or(|key| !deletes.contains(&key)));
            let found = merged.iter().enumerate().rev();
            let mut known: HashMap<String, usize> =
                found.filter_map(|(n, item)| Some((identity(item)?, n))).collect();
            for item in patch.iter().filter(|item| !directive(item, "delete")) {
                let key = identity(item);
                let same = key.as_ref().and_then(|key| known.get(key));
                match same.and_then(|index| merged.get_mut(*index)) {
                    Some(other) => merge(other, item)?,
                    None => {
                        if let Some(key) = key {
                            known.insert(key, merged.len());
                        }
                        merged.push(item.clone());
                    }
                }
            }
        }
    }
    *list = Value::Array(merged);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_lists_by_key() {
        for (value, patch, expected) in [
            (
                json!({"data": {"a": "1"}}),
                json!({"data": {"a": null, "b": "2"}}),
                json!({"data": {"b": "2"}}),
            ),
            (
                json!({"finalizers": ["a"]}),
                json!({"finalizers": ["b", "a"]}),
                json!({"finalizers": ["a", "b"]}),
            ),
            (
                json!({"finalizers": ["a", "b"]}),
                json!({"$deleteFromPrimitiveList/finalizers": ["a"]}),
                json!({"finalizers": ["b"]}),
            ),
            (
                json!({"ownerReferences": [{"uid": "1", "name": "x"}, {"uid": "2"}]}),
                json!({"ownerReferences": [{"uid": "1", "name": "y"}, {"uid": "2", "$patch": "delete"}]}),
                json!({"ownerReferences": [{"uid": "1", "name": "y"}]}),
            ),
            (json!({"list": [1, 2]}), json!({"list": [3]}), json!({"list": [3]})),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"$patch": "replace", "c": 1}}),
                json!({"a": {"c": 1}}),
            ),
            (json!({"a": 1, "b": 2}), json!({"$retainKeys": ["a"]}), json!({"a": 1})),
        ] {
            let mut merged = value.clone();
            merge(&mut merged, &patch).unwrap();
            assert_eq!(merged, expected, "{value} + {patch}");
        }
    }
}
