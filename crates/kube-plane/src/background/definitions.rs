//! Deletion of the objects of a deleted definition.

use std::sync::Arc;

use serde_json::Value;

use super::queue::{DELETIONS_AT_ONCE, Next};
use crate::{
    api::{Api, Body, DeleteOptions, Propagation, Subresource, Target, WriteOptions},
    meta,
    registry::{CRDS, definition::CLEANUP},
    status::Result,
};

/// Deletes objects of a definition, and removes its finalizer when none is left.
pub(super) async fn empty(api: &Arc<Api>, name: &str) -> Result<Next> {
    if api.store.get(CRDS, "", name).is_none_or(|definition| !definition.deleting) {
        return Ok(Next::Change);
    }
    let tables = api.registry.tables();
    if let Some(resource) = tables.stored(name) {
        let (_, objects) = api.store.list(name, None);
        let mut left = objects.into_iter().filter(|object| !object.deleting);
        for object in left.by_ref().take(DELETIONS_AT_ONCE) {
            let key = &object.key;
            let options = DeleteOptions::of_uid(&object.uid, Propagation::Background);
            match api.delete(&resource, &key.namespace, &key.name, &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        if left.next().is_some() {
            return Ok(Next::Turn);
        }
    }
    if !api.store.is_empty(name, None) {
        return Ok(Next::Change);
    }
    let Some(resource) = tables.stored(CRDS) else { return Ok(Next::Change) };
    let target =
        Target { resource: &resource, namespace: "", name, subresource: Subresource::None };
    let options =
        WriteOptions { manager: "definition-controller".to_owned(), ..Default::default() };
    let edit = |old: &Value| {
        let mut value = old.clone();
        let left: Vec<String> = meta::finalizers(old)
            .into_iter()
            .filter(|finalizer| *finalizer != CLEANUP)
            .map(str::to_owned)
            .collect();
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        meta::set_finalizers(&mut value, &left);
        Ok(Body::from(value))
    };
    api.update_unchecked(target, &options, edit).await.map(|_| Next::Change)
}
