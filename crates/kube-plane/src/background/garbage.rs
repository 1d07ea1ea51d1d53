//! Garbage collection: objects whose owners are deleted, and owners that wait for their dependents.

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;

use super::queue::Work;
use crate::{
    api::{
        Api, Body, DeleteOptions, FOREGROUND, ORPHAN, Propagation, Subresource, Target,
        WriteOptions,
    },
    json, meta,
    registry::{Access, Resource},
    status::{ApiError, Result},
    store::{Key, Object},
};

/// Returns whether an object is being deleted and waits for its dependents.
pub(super) fn waits(object: &Object) -> bool {
    object.deleting && object.finalizers.iter().any(|f| matches!(&**f, FOREGROUND | ORPHAN))
}

/// Target of an owner reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Alive,
    /// It is being deleted in the foreground and waits for the dependent.
    Waiting,
    Gone,
}

/// Deletes an object without an existing owner, and removes references to missing owners.
pub(super) async fn check_owners(api: &Arc<Api>, key: &Key) -> Result<()> {
    // The owners of an unreadable object are unknown.
    let Some(object) = api.store.get_key(key).filter(|object| object.check().is_ok()) else {
        return Ok(());
    };
    let all_alive = object.owners.iter().all(|owner| {
        api.store
            .by_uid(&owner.uid)
            .is_some_and(|owner| !owner.deleting && may_own(&owner.key, key))
    });
    if all_alive {
        return Ok(());
    }
    let Some(resource) = api.registry.tables().stored(&key.resource) else { return Ok(()) };
    let value = object.value()?;
    let references = references(&value);
    let states: Vec<Owner> =
        references.iter().map(|reference| look_up(api, key, reference)).collect();
    let gone = states.iter().filter(|state| **state == Owner::Gone).count();
    let waiting = states.contains(&Owner::Waiting);
    if states.contains(&Owner::Alive) {
        if gone == 0 {
            return Ok(());
        }
        return drop_references(api, &resource, key, |api, reference| {
            look_up(api, key, reference) == Owner::Gone
        })
        .await;
    }
    if object.deleting || (gone == 0 && !waiting) {
        return Ok(());
    }
    let propagation = if object.finalizers.iter().any(|f| &**f == ORPHAN) {
        Propagation::Orphan
    } else if waiting || object.finalizers.iter().any(|f| &**f == FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    tracing::info!(object = %key, "deleting an object whose owners are gone");
    let options = DeleteOptions::of_uid(&object.uid, propagation);
    api.delete(&resource, &key.namespace, &key.name, &options).await.map(drop)
}

fn references(value: &Value) -> Vec<Value> {
    let list = json::at(value, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    list.cloned().unwrap_or_default()
}

fn look_up(api: &Api, dependent: &Key, reference: &Value) -> Owner {
    let owner = api.store.by_uid(json::text(reference, &["uid"]));
    match owner.filter(|owner| may_own(&owner.key, dependent)) {
        Some(owner) if owner.deleting && owner.finalizers.iter().any(|f| &**f == FOREGROUND) => {
            Owner::Waiting
        }
        Some(_) => Owner::Alive,
        // Owners of a kind that is not served here are unknown, not missing. So is a namespaced
        // owner of a cluster-scoped object, because the reference does not name the namespace.
        None if !is_served(api, dependent, reference) => Owner::Alive,
        None => Owner::Gone,
    }
}

/// Returns whether an object can be the owner of another: it is in the same namespace, or
/// cluster-scoped. Other references have no effect.
fn may_own(owner: &Key, dependent: &Key) -> bool {
    owner.namespace.is_empty() || owner.namespace == dependent.namespace
}

/// Returns whether a blocking reference matches the object with its UID: the author was authorized
/// for what it names.
fn names(api: &Api, dependent: &Object, owner: &Object) -> bool {
    let Some(resource) = api.registry.tables().stored(&owner.key.resource) else { return true };
    // Unreadable objects block until a user handles them.
    let Ok(value) = dependent.value() else { return true };
    references(&value).iter().any(|reference| {
        let version = json::text(reference, &["apiVersion"]);
        json::text(reference, &["uid"]) == &*owner.uid
            && reference["blockOwnerDeletion"] == true
            && version.split_once('/').map_or("", |(group, _)| group) == &*resource.group
            && json::text(reference, &["kind"]) == &*resource.kind
            && json::text(reference, &["name"]) == &*owner.key.name
    })
}

/// The version may be an older one; group and kind decide.
fn is_served(api: &Api, dependent: &Key, reference: &Value) -> bool {
    let version = json::text(reference, &["apiVersion"]);
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = json::text(reference, &["kind"]);
    api.registry.tables().all().any(|resource| {
        *resource.group == *group
            && *resource.kind == *kind
            && resource.access != Access::Review
            && !(resource.namespaced && dependent.namespace.is_empty())
    })
}

/// Removes the owner references that a test selects.
async fn drop_references(
    api: &Arc<Api>,
    resource: &Resource,
    key: &Key,
    goes: impl Fn(&Api, &Value) -> bool,
) -> Result<()> {
    change(api, resource, key, |value| {
        let mut kept = references(value);
        kept.retain(|reference| !goes(api, reference));
        json::set(value, &["metadata", "ownerReferences"], kept.into());
    })
    .await
}

async fn change(
    api: &Arc<Api>,
    resource: &Resource,
    key: &Key,
    edit: impl Fn(&mut Value),
) -> Result<()> {
    let target = Target {
        resource,
        namespace: &key.namespace,
        name: &key.name,
        subresource: Subresource::None,
    };
    let options = WriteOptions { manager: "garbage-collector".to_owned(), ..Default::default() };
    let edit = |old: &Value| {
        let mut value = old.clone();
        edit(&mut value);
        Ok(Body::from(value))
    };
    api.update_unchecked(target, &options, edit).await.map(drop)
}

/// Continues the deletion of an object that waits: its dependents are deleted or orphaned first.
/// Returns the work that follows.
pub(super) async fn check_dependents(api: &Arc<Api>, key: &Key) -> Result<Vec<Work>> {
    let Some(object) = api.store.get_key(key).filter(|object| waits(object)) else {
        return Ok(Vec::new());
    };
    let tables = api.registry.tables();
    let mut dependents = api.store.dependents(&object.uid);
    // The object itself does not block it, and neither do objects in other namespaces.
    dependents.retain(|dependent| {
        let is_served = tables.stored(&dependent.key.resource).is_some();
        dependent.key != *key && may_own(key, &dependent.key) && is_served
    });
    let orphan = object.finalizers.iter().any(|f| &**f == ORPHAN);
    let (mut blocked, mut following, mut above) = (false, Vec::new(), None);
    if orphan && dependents.len() > ORPHANS_AT_ONCE {
        dependents.truncate(ORPHANS_AT_ONCE);
        following.push(Work::Waiting(key.clone()));
        blocked = true;
    }
    for dependent in &dependents {
        let Some(resource) = tables.stored(&dependent.key.resource) else { continue };
        if orphan {
            drop_references(api, &resource, &dependent.key, |_, reference| {
                json::text(reference, &["uid"]) == &*object.uid
            })
            .await
            .or_else(ignore_missing)?;
            continue;
        }
        let holds = dependent.owners.iter().any(|o| o.uid == object.uid && o.blocks);
        // One is enough, because each one must be parsed.
        blocked = blocked
            || (holds
                && names(api, dependent, &object)
                && !above
                    .get_or_insert_with(|| waiting_for(api, &object))
                    .contains(&dependent.key));
        // Of an object that is being deleted nothing else is to be decided.
        if !dependent.deleting {
            following.push(Work::Owners(dependent.key.clone()));
        }
    }
    if blocked {
        return Ok(following);
    }
    let Some(resource) = tables.stored(&key.resource) else { return Ok(following) };
    let done = if orphan { ORPHAN } else { FOREGROUND };
    change(api, &resource, key, |value| {
        let left: Vec<String> = meta::finalizers(value)
            .into_iter()
            .filter(|finalizer| *finalizer != done)
            .map(str::to_owned)
            .collect();
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        meta::set_finalizers(value, &left);
    })
    .await?;
    Ok(following)
}

/// Number of dependents that are orphaned before the work of other namespaces.
const ORPHANS_AT_ONCE: usize = 50;

/// Maximum number of owner references to visit in the search for cycles.
const MAX_CIRCLE: usize = 10_000;

/// Returns the objects that wait for an object, directly or through others. If one of them is a
/// dependent, neither would ever be deleted, and the object does not wait for it.
///
/// The search goes up once for all dependents. A search down from each of them takes the square of
/// the number of objects that a user creates.
fn waiting_for(api: &Api, object: &Arc<Object>) -> HashSet<Key> {
    let (mut found, mut visited) = (HashSet::new(), 0);
    let mut next = vec![Arc::clone(object)];
    while let Some(below) = next.pop() {
        for reference in below.owners.iter().filter(|reference| reference.blocks) {
            visited += 1;
            if visited > MAX_CIRCLE {
                return found;
            }
            let Some(above) = api.store.by_uid(&reference.uid) else { continue };
            let waits = above.deleting && above.finalizers.iter().any(|f| &**f == FOREGROUND);
            if waits && may_own(&above.key, &below.key) && found.insert(above.key.clone()) {
                next.push(above);
            }
        }
    }
    found
}

fn ignore_missing(error: ApiError) -> Result<()> {
    if error.is_not_found() { Ok(()) } else { Err(error) }
}
