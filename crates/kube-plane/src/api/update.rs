//! Update and patch: read, change, validate, write, and retry after a conflict.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::{
    Api, Body, Subresource, WriteOptions, Written,
    prepare::{check, decode, mutate},
    quota, write_error,
};
use crate::{
    admission::{FieldError, short},
    json, managed, meta,
    registry::{Access, CRDS, Resource, definition},
    status::{ApiError, Result},
    store::{Action, NAMESPACES, Object, Write, WriteError, limits},
};

/// Maximum number of attempts when others write the same object.
pub(super) const TRIES: usize = 30;

/// Shorter base64 values are not searched for in responses.
const MIN_SECRET_LENGTH: usize = 8;

/// Target of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: Subresource,
}

/// Records field ownership after a change: target, new object, old object, options.
pub(crate) type Manage<'a> = &'a (dyn Fn(&Target<'_>, &mut Value, &Value, &WriteOptions) + Sync);

impl Api {
    /// Replaces an object.
    pub(crate) async fn replace(
        &self,
        target: Target<'_>,
        body: Body,
        options: &WriteOptions,
    ) -> Result<Written> {
        let version = json::text(&body.value, &["metadata", "resourceVersion"]);
        if version.is_empty() && !target.resource.unconditional {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                0.into(),
                "must be specified for an update",
            );
            return Err(ApiError::invalid(target.resource, target.name, &[error]));
        }
        self.update(target, options, |_| Ok(body.clone())).await
    }

    /// Changes an object. `change` gets it in the version of the request.
    pub(crate) async fn update(
        &self,
        target: Target<'_>,
        options: &WriteOptions,
        change: impl Fn(&Value) -> Result<Body>,
    ) -> Result<Written> {
        self.update_with(target, options, change, &managed::updated).await
    }

    /// As [`Api::update`], also for an object that its schema no longer accepts, since the
    /// background work must be able to remove those. Only metadata, finalizers and status may
    /// change.
    pub(crate) async fn update_unchecked(
        &self,
        target: Target<'_>,
        options: &WriteOptions,
        change: impl Fn(&Value) -> Result<Body>,
    ) -> Result<Arc<Object>> {
        let Target { resource, namespace, name, .. } = target;
        for _ in 0..TRIES {
            let current = self.get(resource, namespace, name)?;
            let old = current.value()?;
            let value = change(&old)?.value;
            if value == old {
                return Ok(current);
            }
            match self.put(&current, value, 0, options).await {
                Ok(object) => return Ok(object),
                Err(WriteError::Conflict(Some(_))) => {}
                Err(error) => return Err(write_error(resource, namespace, name, error)),
            }
        }
        Err(ApiError::modified(resource, name))
    }

    /// As [`Api::update`]; `manage` records the field ownership.
    pub(crate) async fn update_with(
        &self,
        target: Target<'_>,
        options: &WriteOptions,
        change: impl Fn(&Value) -> Result<Body>,
        manage: Manage<'_>,
    ) -> Result<Written> {
        let Target { resource, namespace, name, .. } = target;
        let written = self.update_unredacted(target, options, change, manage).await;
        if !(resource.builtin && &*resource.kind == "Secret") {
            return written;
        }
        written.map_err(|error| match self.get(resource, namespace, name) {
            Ok(object) => object.value().map_or_else(
                |_| ApiError::internal("the Secret cannot be read"),
                |value| error.without(&secrets(&value)),
            ),
            Err(_) => error,
        })
    }

    async fn update_unredacted(
        &self,
        target: Target<'_>,
        options: &WriteOptions,
        change: impl Fn(&Value) -> Result<Body>,
        manage: Manage<'_>,
    ) -> Result<Written> {
        let Target { resource, namespace, name, subresource } = target;
        if resource.access != Access::Full {
            return Err(ApiError::method_not_allowed());
        }
        for _ in 0..TRIES {
            let current = self.get(resource, namespace, name)?;
            let old = resource.to_served_value(&current)?;
            let body = change(&old)?;
            same_object(&target, &body.value, &old, &current)?;
            // A revision from the client is a precondition: no retry.
            let mut warnings = Vec::new();
            let mut new = decode(resource, body, options, &mut warnings)?;
            merge(&target, &mut new, &old);
            if subresource == Subresource::None {
                mutate(self, resource, &mut new, Some(&old));
                meta::keep_server_fields(&mut new, &old);
            }
            if *resource.storage == *CRDS && subresource == Subresource::None {
                definition::complete(&mut new, Some(&old), &meta::timestamp());
            }
            if resource.generation && differs(&new, &old) {
                let next = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
                json::set(&mut new, &["metadata", "generation"], next.into());
            }
            manage(&target, &mut new, &old, options);
            let mut stored = new.clone();
            resource.to_stored(&mut stored);
            if stored == current.value()? {
                return Ok(Written { object: current, code: StatusCode::OK, warnings });
            }
            // An object at the limit can still be finalized: the server records who did it.
            let bytes = match current.deleting {
                true => limits::check_stored(&stored)?,
                false => limits::check_object(&stored)?,
            };
            let change_of = quota::Change { subresource, bytes, old: Some(&current) };
            quota::check(self, resource, (namespace, name), options, &change_of)?;
            let (new, old) = (Arc::new(new), Arc::new(old));
            check(self, resource, subresource, &new, Some(&old), options).await?;
            match self.put(&current, stored, resource.schema_of_writes(), options).await {
                Ok(object) => return Ok(Written { object, code: StatusCode::OK, warnings }),
                Err(WriteError::Conflict(Some(_))) => {}
                Err(error) => return Err(write_error(resource, namespace, name, error)),
            }
        }
        Err(ApiError::modified(resource, name))
    }

    /// Writes the new state. Removing the last finalizer of a deleted object removes the object.
    pub(super) async fn put(
        &self,
        current: &Object,
        value: Value,
        schema: u64,
        options: &WriteOptions,
    ) -> Result<Arc<Object>, WriteError> {
        let key = current.key.clone();
        if options.dry_run {
            return Object::draft(key, &value).map(Arc::new);
        }
        let gone = meta::is_deleting(&value)
            && meta::finalizers(&value).is_empty()
            && !(*key.resource == *NAMESPACES && has_spec_finalizers(&value));
        let action = if gone { Action::Delete(value) } else { Action::Put(value) };
        self.store.write(Write { key, expected: Some(current.revision), action, schema }).await
    }
}

/// Returns the values of a Secret, in base64 as a patch copies them. Short ones may occur by
/// chance.
fn secrets(value: &Value) -> Vec<&str> {
    let data = value.get("data").and_then(Value::as_object);
    let texts = data.into_iter().flat_map(|data| data.values()).filter_map(Value::as_str);
    texts.filter(|text| text.len() >= MIN_SECRET_LENGTH).collect()
}

pub(super) fn has_spec_finalizers(namespace: &Value) -> bool {
    let list = json::at(namespace, &["spec", "finalizers"]).and_then(Value::as_array);
    list.is_some_and(|list| !list.is_empty())
}

/// Checks that the body is about the object of the path, in the state that the client knows.
fn same_object(target: &Target<'_>, body: &Value, old: &Value, current: &Object) -> Result<()> {
    let Target { resource, namespace, name, .. } = target;
    let found = json::text(body, &["metadata", "name"]);
    if found != *name {
        return Err(ApiError::other_name(found, name));
    }
    let found = json::text(body, &["metadata", "namespace"]);
    if resource.namespaced && !found.is_empty() && found != *namespace {
        return Err(ApiError::bad_request(format!(
            "the namespace of the object ({}) does not match the namespace on the request \
             ({namespace})",
            short(found)
        )));
    }
    let uid = json::text(body, &["metadata", "uid"]);
    let known = json::text(old, &["metadata", "uid"]);
    if !uid.is_empty() && uid != known {
        return Err(ApiError::conflict(
            resource,
            name,
            &format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {known}"
            ),
        ));
    }
    let version = json::text(body, &["metadata", "resourceVersion"]);
    if !version.is_empty() && version != current.revision.to_string() {
        return Err(ApiError::modified(resource, name));
    }
    Ok(())
}

/// Copies from the old object what this request may not change.
fn merge(target: &Target<'_>, new: &mut Value, old: &Value) {
    match target.subresource {
        Subresource::None => {
            if target.resource.status {
                restore(new, old, "status");
            }
            if *target.resource.storage == *NAMESPACES {
                restore(new, old, "spec");
            }
            if target.resource.namespaced {
                json::set(new, &["metadata", "namespace"], target.namespace.into());
            } else {
                json::remove(new, &["metadata", "namespace"]);
            }
        }
        Subresource::Status | Subresource::Finalize => {
            let field = if target.subresource == Subresource::Status { "status" } else { "spec" };
            let managed = json::at(new, &["metadata", "managedFields"]).cloned();
            let mut merged = old.clone();
            restore(&mut merged, new, field);
            if let Some(managed) = managed {
                json::set(&mut merged, &["metadata", "managedFields"], managed);
            } else {
                json::remove(&mut merged, &["metadata", "managedFields"]);
            }
            *new = merged;
        }
    }
    meta::keep_server_fields(new, old);
}

fn restore(new: &mut Value, old: &Value, field: &str) {
    match (old.get(field), new.as_object_mut()) {
        (Some(value), Some(fields)) => {
            fields.insert(field.to_owned(), value.clone());
        }
        (None, Some(fields)) => {
            fields.remove(field);
        }
        (_, None) => {}
    }
}

/// Returns whether anything but metadata and status differs.
fn differs(new: &Value, old: &Value) -> bool {
    let rest = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        let rest = fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"));
        rest.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>()
    };
    rest(new) != rest(old)
}
