//! Deletion of namespaces and their content.

mod conditions;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use self::conditions::Remaining;
use super::queue::{DELETIONS_AT_ONCE, Next};
use crate::{
    api::{Api, Body, DeleteOptions, Propagation, Subresource, Target, WriteOptions},
    json,
    registry::Resource,
    status::Result,
    store::{NAMESPACES, Object},
};

/// Interval of status updates of a namespace. Most are empty before the first one.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Time of the last status update of each namespace that is being emptied.
#[derive(Debug, Default)]
pub(super) struct ReportTimes(Mutex<HashMap<Box<str>, Instant>>);

impl ReportTimes {
    /// Returns whether a status update of a namespace is due.
    fn due(&self, namespace: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let last = last.entry(namespace.into()).or_insert(now);
        let due = last.elapsed() >= REPORT_INTERVAL;
        if due {
            *last = now;
        }
        due
    }

    fn forget(&self, namespace: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }
}

/// Deletes content of a namespace, and the namespace itself when nothing is left. Conditions of the
/// namespace report what is left.
pub(super) async fn empty(api: &Arc<Api>, name: &str, reports: &ReportTimes) -> Result<Next> {
    let Some(namespace) = api.store.get(NAMESPACES, "", name).filter(|n| n.deleting) else {
        reports.forget(name);
        return Ok(Next::Change);
    };
    let tables = api.registry.tables();
    let mut deleted = 0;
    let mut remaining = Remaining::default();
    for storage in api.store.resources() {
        let Some(resource) = tables.stored(&storage).filter(|resource| resource.namespaced) else {
            continue;
        };
        // Resources of the core group are stored with a trailing dot.
        let shown = storage.trim_end_matches('.');
        let (_, objects) = api.store.list(&storage, Some(name));
        for object in objects.into_iter().filter(|object| !object.deleting) {
            if deleted == DELETIONS_AT_ONCE {
                return Ok(Next::Turn);
            }
            let options = DeleteOptions::of_uid(&object.uid, Propagation::Background);
            match api.delete(&resource, name, &object.key.name, &options).await {
                Ok(_) => deleted += 1,
                Err(error) if !error.is_not_found() && !error.is_conflict() => {
                    remaining.failed(format!("cannot delete {shown} {}: {error}", object.key.name));
                }
                Err(_) => {}
            }
        }
        let (_, left) = api.store.list(&storage, Some(name));
        remaining.add(shown, left.iter().map(|object| &*object.finalizers));
        // Lists omit unreadable objects.
        if left.is_empty() && !api.store.is_empty(&storage, Some(name)) {
            remaining.failed(format!("{shown} has objects that cannot be read"));
        }
    }
    let Some(resource) = tables.stored(NAMESPACES) else { return Ok(Next::Change) };
    if remaining.is_empty() {
        finalize(api, &resource, &namespace).await?;
        return Ok(Next::Change);
    }
    if !reports.due(name) {
        return Ok(Next::Interval);
    }
    write_conditions(api, &resource, &namespace, &remaining).await?;
    Ok(if remaining.has_failures() { Next::Interval } else { Next::Change })
}

/// Writes the conditions if they have changed.
async fn write_conditions(
    api: &Arc<Api>,
    resource: &Resource,
    namespace: &Object,
    remaining: &Remaining,
) -> Result<()> {
    let now = crate::meta::timestamp();
    edit(api, resource, namespace, Subresource::Status, |value| {
        let before = json::at(value, &["status", "conditions"]).and_then(Value::as_array);
        let conditions = remaining.conditions(before.map_or(&[], Vec::as_slice), &now);
        json::set(value, &["status", "conditions"], Value::Array(conditions));
    })
    .await
}

/// Removes the finalizer of an empty namespace.
async fn finalize(api: &Arc<Api>, resource: &Resource, namespace: &Object) -> Result<()> {
    edit(api, resource, namespace, Subresource::Finalize, |value| {
        let finalizers = json::at(value, &["spec", "finalizers"]).and_then(Value::as_array);
        let others: Vec<Value> =
            finalizers.into_iter().flatten().filter(|f| *f != "kubernetes").cloned().collect();
        json::set(value, &["spec", "finalizers"], json!(others));
    })
    .await
}

async fn edit(
    api: &Arc<Api>,
    resource: &Resource,
    namespace: &Object,
    subresource: Subresource,
    change: impl Fn(&mut Value),
) -> Result<()> {
    let target = Target { resource, namespace: "", name: &namespace.key.name, subresource };
    let options = WriteOptions { manager: "namespace-controller".to_owned(), ..Default::default() };
    let change = |old: &Value| {
        let mut value = old.clone();
        change(&mut value);
        Ok(Body::from(value))
    };
    api.update_unchecked(target, &options, change).await.map(drop)
}
