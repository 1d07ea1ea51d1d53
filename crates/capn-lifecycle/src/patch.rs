//! Minimal writes to Kubernetes: merge patches of what actually changed.

use std::collections::BTreeMap;

use capi_api::core::ContractRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::Context;
use crate::contract;
use crate::error::{Failure, is_not_found};

/// Returns the merge patch (RFC 7396) that turns `old` into `new`, or `None` if they are equal.
///
/// Lists are replaced as a whole; a field that `new` lacks is set to null.
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

/// Writes the status of an object if it differs from the stored one.
///
/// The patch contains the resource version that was read: after a concurrent write, the API server
/// returns a conflict and the caller must read again. Returns the updated object, or `None` if
/// nothing was written.
///
/// # Errors
///
/// [`Failure::Api`] if the request fails.
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

/// Returns a merge patch of owner references (if they change) and labels. Owner references are
/// replaced as a whole, so the patch contains the resource version that was read.
pub(crate) fn ownership(
    owners: Option<&Vec<OwnerReference>>,
    labels: &BTreeMap<String, String>,
    resource_version: Option<&str>,
) -> Value {
    let mut metadata = json!({ "labels": labels });
    if let Some(owners) = owners {
        metadata["ownerReferences"] = json!(owners);
        metadata["resourceVersion"] = json!(resource_version);
    }
    json!({ "metadata": metadata })
}

/// Patches an object of another provider.
///
/// # Errors
///
/// See [`crate::contract::Contracts::resolve`].
pub(crate) async fn external(
    ctx: &Context,
    namespace: &str,
    reference: &ContractRef,
    change: &Value,
) -> Result<(), contract::Error> {
    let (api, _) = ctx.contracts.api(namespace, reference).await?;
    api.patch(&reference.name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .map_err(contract::Error::request("patch", reference.to_string()))?;
    Ok(())
}

/// Adds a finalizer to an object without it.
///
/// # Errors
///
/// [`Failure::Api`], a conflict if the object changed since it was read.
pub(crate) async fn add_finalizer<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(finalizer.to_owned());
    set_finalizers(api, object, &finalizers).await
}

/// Removes a finalizer. A missing object is not an error.
///
/// # Errors
///
/// [`Failure::Api`], a conflict if the object changed since it was read.
pub(crate) async fn remove_finalizer<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|have| have != finalizer);
    match set_finalizers(api, object, &finalizers).await {
        Ok(_) => Ok(()),
        Err(Failure::Api { source, .. }) if is_not_found(&source) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn set_finalizers<K>(api: &Api<K>, object: &K, finalizers: &[String]) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let change = json!({ "metadata": {
        "finalizers": finalizers,
        // The list is replaced as a whole, so the object must be unchanged.
        "resourceVersion": object.resource_version(),
    } });
    api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&change))
        .await
        .map_err(Failure::api("patch the finalizers of", object))
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
