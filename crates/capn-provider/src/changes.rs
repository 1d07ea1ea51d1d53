//! Which changes of objects matter.
//!
//! The core controllers write the status of a Cluster whenever one of its machines changes. Were
//! each such write to wake every machine, the requests to the server would grow with the square of
//! their number.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use capn_controller::watch;
use futures::{Stream, StreamExt as _, future};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        reflector::ObjectRef,
        watcher::{self, Event},
    },
};
use serde::Serialize;
use serde_json::Value;

/// A kind of object that is watched for the sake of others.
pub(crate) trait Watched: watch::Kind + Serialize {}

impl<K> Watched for K where K: watch::Kind + Serialize {}

/// Objects that others depend on: each when it is first seen, when something of it changes but
/// the bookkeeping and those parts of its status that are not named in `status`, and when it is gone.
pub(crate) fn that_matter<K: Watched>(
    api: Api<K>,
    status: &'static [&'static str],
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    marked(api, move |object| mark(object, status))
}

/// The same where others depend on a few fields only, which are named by JSON pointers.
pub(crate) fn of_fields<K: Watched>(
    api: Api<K>,
    fields: &'static [&'static str],
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    marked(api, move |object| mark_of_fields(object, fields))
}

fn marked<K: Watched>(
    api: Api<K>,
    mark: impl Fn(&K) -> Option<u64> + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    let mut known = HashMap::new();
    watch::watcher(api, Default::default()).default_backoff().filter_map(move |event| {
        future::ready(match event {
            Ok(event) => news(&mut known, event, &mark).map(Ok),
            Err(error) => Some(Err(error)),
        })
    })
}

/// The object of an event that tells something new.
fn news<K>(
    known: &mut HashMap<ObjectRef<K>, Option<u64>>,
    event: Event<K>,
    mark: impl Fn(&K) -> Option<u64>,
) -> Option<K>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    match event {
        Event::Apply(object) | Event::InitApply(object) => {
            let mark = mark(&object);
            let before = known.insert(ObjectRef::from_obj(&object), mark);
            (before != Some(mark) || mark.is_none()).then_some(object)
        }
        Event::Delete(object) => {
            known.remove(&ObjectRef::from_obj(&object));
            Some(object)
        }
        Event::Init | Event::InitDone => None,
    }
}

/// A mark that changes with everything of an object but its bookkeeping and its status, of which
/// only the fields named count. `None` for what has no form in JSON.
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

/// A mark that changes with the fields named.
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
    fn a_status_that_does_not_matter_is_no_news_and_everything_else_is() {
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
        let mut known = HashMap::new();
        for (what, event, is_news) in [
            ("the first", Event::Apply(cluster("1", spec(), json!({}))), true),
            ("provisioned", Event::Apply(cluster("2", spec(), made)), true),
            ("another phase", Event::Apply(cluster("3", spec(), counted.clone())), false),
            ("listed again", Event::InitApply(cluster("4", spec(), counted.clone())), false),
            ("paused", Event::Apply(cluster("5", paused.clone(), counted.clone())), true),
            ("gone", Event::Delete(cluster("6", paused.clone(), counted.clone())), true),
            ("made anew", Event::Apply(cluster("7", paused, counted)), true),
        ] {
            let told = news(&mut known, event, |object| mark(object, &["initialization"]));
            assert_eq!(told.is_some(), is_news, "{what}");
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
        let mut known = HashMap::new();
        for (what, event, is_news) in [
            ("the first", Event::Apply(cluster("1", reference("demo"), json!({}))), true),
            ("a label", Event::Apply(labelled), false),
            ("another", Event::Apply(cluster("3", reference("other"), json!({}))), true),
            ("none", Event::Apply(cluster("4", json!({}), json!({}))), true),
            ("gone", Event::Delete(cluster("5", json!({}), json!({}))), true),
        ] {
            let told = news(&mut known, event, |object| {
                mark_of_fields(object, &["/spec/infrastructureRef"])
            });
            assert_eq!(told.is_some(), is_news, "{what}");
        }
    }
}
