//! Writing as little as possible: merge patches of what really changed.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The merge patch (RFC 7396) that turns `old` into `new`, or `None` if they are equal.
///
/// Lists are replaced whole; a field that `new` lacks is set to null.
pub(crate) fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(change) = merge_diff(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    Some(Value::Object(patch))
}

/// Writes the status of an object if it changed since the object was read.
///
/// The patch carries the resource version that was read: if anyone wrote in between, the API
/// server answers with a conflict and the caller reads again. Returns the object as written, or
/// `None` when there was nothing to write.
///
/// # Errors
///
/// What the API server says.
pub(crate) async fn status<K, S>(
    api: &Api<K>,
    name: &str,
    resource_version: Option<&str>,
    old: Option<&S>,
    new: &S,
) -> Result<Option<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let old = old.map(serde_json::to_value).transpose().map_err(kube::Error::SerdeError)?;
    let new = serde_json::to_value(new).map_err(kube::Error::SerdeError)?;
    let Some(change) = merge_diff(&old.unwrap_or_else(|| json!({})), &new) else {
        return Ok(None);
    };
    let mut patch = json!({ "status": change });
    if let Some(version) = resource_version {
        patch["metadata"] = json!({ "resourceVersion": version });
    }
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_diff_names_only_what_changed() {
        for (old, new, expected) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (json!({"a": 1, "b": 2}), json!({"b": 2}), Some(json!({"a": null}))),
            (json!({}), json!({"a": {"b": 1}}), Some(json!({"a": {"b": 1}}))),
            (
                json!({"a": {"b": 1, "c": [1]}}),
                json!({"a": {"b": 1, "c": [1, 2]}}),
                Some(json!({"a": {"c": [1, 2]}})),
            ),
        ] {
            assert_eq!(merge_diff(&old, &new), expected, "{old} -> {new}");
        }
    }
}
