//! Filters for relevant changes of objects.
//!
//! The core controllers write the status of a Cluster whenever one of its machines changes. If
//! every such write woke every machine, the number of requests to the server would grow
//! quadratically.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use capn_controller::{informers::Informer, watch};
use futures::Stream;
use kube::Resource;
use serde::Serialize;
use serde_json::Value;

/// A kind of object that is watched because other objects depend on it.
pub(crate) trait Watched: watch::Kind + Serialize {}

impl<K> Watched for K where K: watch::Kind + Serialize {}

/// Returns the relevant changes of objects: the first appearance, a change of anything except
/// bookkeeping fields and status fields that `status` does not list, and the deletion.
pub(crate) fn that_matter<K: Watched>(
    objects: &Informer<K>,
    status: &'static [&'static str],
) -> impl Stream<Item = Arc<K>> + Send + 'static {
    objects.marked(move |object| mark(object, status))
}

/// Like [`that_matter`], for objects of which only a few fields are relevant. The fields are given
/// as JSON pointers.
pub(crate) fn of_fields<K: Watched>(
    objects: &Informer<K>,
    fields: &'static [&'static str],
) -> impl Stream<Item = Arc<K>> + Send + 'static {
    objects.marked(move |object| mark_of_fields(object, fields))
}

/// Returns a hash of an object without its bookkeeping fields and without the status fields that
/// `status` does not list. `None` if the object cannot be serialized to JSON.
pub(crate) fn mark<K: Resource + Serialize>(object: &K, status: &[&str]) -> Option<u64> {
    let mut value = serde_json::to_value(object).ok()?;
    let fields = value.as_object_mut()?;
    if let Some(Value::Object(all)) = fields.get_mut("status") {
        all.retain(|field, _| status.contains(&field.as_str()));
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    Some(hasher.finish())
}

/// Returns a hash of the listed fields.
fn mark_of_fields<K: Serialize>(object: &K, fields: &[&str]) -> Option<u64> {
    let value = serde_json::to_value(object).ok()?;
    let mut hasher = DefaultHasher::new();
    for field in fields {
        value.pointer(field).map(Value::to_string).hash(&mut hasher);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use capi_api::core::Cluster;
    use serde_json::json;

    use super::*;

    fn cluster(version: &str, spec: Value, status: Value) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "demo", "namespace": "default", "resourceVersion": version },
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn only_relevant_status_changes_are_reported() {
        let made = json!({ "initialization": { "infrastructureProvisioned": true } });
        let counted = json!({
            "initialization": { "infrastructureProvisioned": true }, "phase": "Provisioned",
        });
        let spec = || {
            json!({ "infrastructureRef": {
            "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": "demo",
        } })
        };
        let mut paused = spec();
        paused["paused"] = json!(true);
        let mut before = None;
        for (what, cluster, is_change) in [
            ("the first", cluster("1", spec(), json!({})), true),
            ("provisioned", cluster("2", spec(), made), true),
            ("another phase", cluster("3", spec(), counted.clone()), false),
            ("listed again", cluster("4", spec(), counted.clone()), false),
            ("paused", cluster("5", paused.clone(), counted), true),
        ] {
            let now = mark(&cluster, &["initialization"]);
            assert_eq!(now != before, is_change, "{what}");
            before = now;
        }
    }

    #[test]
    fn fields_that_are_not_named_are_no_news() {
        let reference = |name: &str| {
            json!({ "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": name,
            } })
        };
        let mut labelled = cluster("2", reference("demo"), json!({}));
        labelled.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
        let mut before = None;
        for (what, cluster, is_change) in [
            ("the first", cluster("1", reference("demo"), json!({})), true),
            ("a label", labelled, false),
            ("another", cluster("3", reference("other"), json!({})), true),
            ("none", cluster("4", json!({}), json!({})), true),
        ] {
            let now = mark_of_fields(&cluster, &["/spec/infrastructureRef"]);
            assert_eq!(now != before, is_change, "{what}");
            before = now;
        }
    }
}
