//! A deleted namespace is emptied, and goes when it is empty.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    api::{Api, Body, DeleteOptions, Propagation, Subresource, Target, WriteOptions},
    json,
    status::Result,
    store::NAMESPACES,
};

/// Deletes what is in a namespace; takes the namespace away when nothing is left.
pub(super) async fn empty(api: &Arc<Api>, name: &str) -> Result<()> {
    let Some(namespace) = api.store.get(NAMESPACES, "", name).filter(|n| n.deleting) else {
        return Ok(());
    };
    let tables = api.registry.tables();
    let mut left = false;
    for storage in api.store.resources() {
        let Some(resource) = tables.stored(&storage).filter(|resource| resource.namespaced) else {
            continue;
        };
        let (_, objects) = api.store.list(&storage, Some(name));
        for object in objects.into_iter().filter(|object| !object.deleting) {
            let options = DeleteOptions::of_uid(&object.uid, Propagation::Background);
            match api.delete(&resource, name, &object.key.name, &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        left |= !api.store.is_empty(&storage, Some(name));
    }
    if left {
        return Ok(());
    }
    let Some(resource) = tables.stored(NAMESPACES) else { return Ok(()) };
    let target = Target {
        resource: &resource,
        namespace: "",
        name: &namespace.key.name,
        subresource: Subresource::Finalize,
    };
    let options = WriteOptions { manager: "namespace-controller".to_owned(), ..Default::default() };
    let edit = |old: &Value| {
        let mut value = old.clone();
        let finalizers = json::at(&value, &["spec", "finalizers"]).and_then(Value::as_array);
        let others: Vec<Value> =
            finalizers.into_iter().flatten().filter(|f| *f != "kubernetes").cloned().collect();
        json::set(&mut value, &["spec", "finalizers"], json!(others));
        Ok(Body::from(value))
    };
    api.update_unchecked(target, &options, edit).await.map(drop)
}
