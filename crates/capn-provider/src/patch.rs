//! Minimal writes to Kubernetes: merge patches of what actually changed.

use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Returns the merge patch (RFC 7396) that turns `old` into `new`, or `None` if they are equal.
/// Lists are replaced as a whole; a field that `new` lacks is set to null.
fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
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
            Some(before) => {
                if let Some(change) = merge_diff(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Some(Value::Object(patch))
}

/// Writes the status of an object if it differs from the stored one. Returns `None` if nothing was
/// written. If the object has changed since it was read, the write fails with a conflict and the
/// object is read again. An object that is gone has no status: `clusterctl move` removes finalizers
/// itself.
pub(crate) async fn status<K, S>(
    api: &Api<K>,
    object: &K,
    old: Option<&S>,
    new: &S,
) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let value = |status: &S| {
        serde_json::to_value(status).map_err(|source| {
            Failure::kube("encode the status of", object)(kube::Error::SerdeError(source))
        })
    };
    let old = old.map(value).transpose()?.unwrap_or_else(|| json!({}));
    let Some(change) = merge_diff(&old, &value(new)?) else { return Ok(None) };
    let patch = json!({
        "metadata": { "resourceVersion": object.meta().resource_version },
        "status": change,
    });
    let written = api
        .patch_status(name(object), &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(Failure::kube("write the status of", object));
    match written {
        Err(failure) if failure.is_kube_not_found() => Ok(None),
        written => written.map(Some),
    }
}

/// Adds a finalizer. `None`: it already exists.
pub(crate) async fn add_finalizer<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|present| present == finalizer) {
        return Ok(None);
    }
    finalizers.push(finalizer.to_owned());
    finalizers_are(api, object, finalizers).await.map(Some)
}

/// Removes a finalizer, after which the object may disappear at once.
pub(crate) async fn remove_finalizer<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    let before = finalizers.len();
    finalizers.retain(|present| present != finalizer);
    if finalizers.len() == before {
        return Ok(());
    }
    match finalizers_are(api, object, finalizers).await {
        Err(failure) if failure.is_kube_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn finalizers_are<K>(api: &Api<K>, object: &K, finalizers: Vec<String>) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = json!({ "metadata": {
        "resourceVersion": object.meta().resource_version,
        "finalizers": finalizers,
    } });
    api.patch(name(object), &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(Failure::kube("change the finalizers of", object))
}

/// Applies a merge patch to an object that has not changed since it was read.
pub(crate) async fn merge<K>(api: &Api<K>, object: &K, mut patch: Value) -> Result<K, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    patch["metadata"]["resourceVersion"] = json!(object.meta().resource_version);
    api.patch(name(object), &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(Failure::kube("change", object))
}

fn name<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use capn_api::LXCCluster;
    use kube::client::Body;

    use super::*;

    /// Returns an API that answers every request with this status.
    fn answering(code: u16, reason: &'static str) -> Api<LXCCluster> {
        let answer = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": reason, "message": reason, "code": code });
        let answer = tower::service_fn(move |_: http::Request<Body>| {
            let body = Body::from(answer.to_string().into_bytes());
            let response = http::Response::builder().status(code).body(body);
            async move { response }
        });
        Api::namespaced(kube::Client::new(answer, "default"), "default")
    }

    #[tokio::test]
    async fn an_object_that_is_gone_has_no_status_to_write() {
        let cluster: LXCCluster = serde_json::from_value(json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
            "metadata": { "name": "demo", "namespace": "default", "resourceVersion": "1" },
            "spec": { "secretRef": { "name": "incus" }, "loadBalancer": { "external": {} } },
        }))
        .unwrap();
        let write = async |api: &Api<LXCCluster>| {
            status(api, &cluster, None, &json!({ "ready": true })).await
        };
        assert!(write(&answering(404, "NotFound")).await.unwrap().is_none());
        assert!(write(&answering(409, "Conflict")).await.is_err());
    }

    #[test]
    fn a_merge_diff_names_only_what_changed() {
        for (old, new, expected) in [
            (json!({"a": 1}), json!({"a": 1}), None),
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
