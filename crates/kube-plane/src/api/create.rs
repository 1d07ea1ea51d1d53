//! Create.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Api, Body, Subresource, WriteOptions, Written,
    prepare::{check, decode, mutate},
    quota, write_error,
};
use crate::{
    admission::FieldError,
    json, managed, meta, names,
    registry::{Access, CRDS, Resource, definition},
    status::{ApiError, Result},
    store::{Action, Key, NAMESPACES, Object, Write, WriteError, limits},
};

/// Maximum number of attempts with a generated name.
const NAME_TRIES: usize = 8;

impl Api {
    /// Creates an object; the namespace in the body must be that of the path, or absent.
    pub(crate) async fn create(
        &self,
        resource: &Resource,
        namespace: &str,
        body: Body,
        options: &WriteOptions,
    ) -> Result<Written> {
        self.create_with(resource, namespace, body, options, managed::created).await
    }

    /// As [`Api::create`]; `manage` records the field ownership.
    pub(crate) async fn create_with(
        &self,
        resource: &Resource,
        namespace: &str,
        body: Body,
        options: &WriteOptions,
        manage: impl Fn(&Resource, &mut Value, &WriteOptions),
    ) -> Result<Written> {
        if resource.access != Access::Full || resource.terminating {
            return Err(ApiError::method_not_allowed());
        }
        let mut warnings = Vec::new();
        let mut body = decode(resource, body, options, &mut warnings)?;
        place(resource, namespace, &mut body)?;
        let generated = json::text(&body, &["metadata", "name"]).is_empty();
        let mut tries = 0;
        loop {
            let mut value = body.clone();
            start(resource, &mut value)?;
            mutate(self, resource, &mut value, None);
            let checked = Arc::new(value);
            check(self, resource, Subresource::None, &checked, None, options).await?;
            let mut value = Arc::unwrap_or_clone(checked);
            manage(resource, &mut value, options);
            resource.to_stored(&mut value);
            let bytes = limits::check_object(&value)?;
            let name = json::text(&value, &["metadata", "name"]).to_owned();
            let change = quota::Change { subresource: Subresource::None, bytes, old: None };
            quota::check(self, resource, (namespace, &name), options, &change)?;
            let key = Key::new(&resource.storage, namespace, &name);
            let written = if options.dry_run {
                self.would_create(key, &value)
            } else {
                let schema = resource.schema_of_writes();
                let action = Action::Put(value);
                self.store.write(Write { key, expected: None, action, schema }).await
            };
            match written {
                Ok(object) => return Ok(Written { object, code: StatusCode::CREATED, warnings }),
                Err(WriteError::Exists) if generated && tries < NAME_TRIES => tries += 1,
                Err(error) => return Err(write_error(resource, namespace, &name, error)),
            }
        }
    }

    fn would_create(&self, key: Key, value: &Value) -> Result<Arc<Object>, WriteError> {
        if self.store.get_key(&key).is_some() {
            return Err(WriteError::Exists);
        }
        if !key.namespace.is_empty() {
            match self.store.get(NAMESPACES, "", &key.namespace) {
                None => return Err(WriteError::NoNamespace),
                Some(namespace) if namespace.deleting => {
                    return Err(WriteError::NamespaceTerminating);
                }
                Some(_) => {}
            }
        }
        Object::draft(key, value).map(Arc::new)
    }
}

/// Sets the namespace of a new object from the path.
fn place(resource: &Resource, namespace: &str, value: &mut Value) -> Result<()> {
    let found = json::text(value, &["metadata", "namespace"]);
    if !resource.namespaced {
        json::remove(value, &["metadata", "namespace"]);
        return Ok(());
    }
    if !found.is_empty() && found != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    json::set(value, &["metadata", "namespace"], namespace.into());
    Ok(())
}

/// Sets the server-managed fields of a new object.
fn start(resource: &Resource, value: &mut Value) -> Result<()> {
    if !json::text(value, &["metadata", "resourceVersion"]).is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if json::text(value, &["metadata", "name"]).is_empty() {
        let base = json::text(value, &["metadata", "generateName"]);
        if base.is_empty() {
            let error = FieldError::required("metadata.name", "name or generateName is required");
            return Err(ApiError::invalid(resource, "", &[error]));
        }
        let name = names::generate(base);
        json::set(value, &["metadata", "name"], name.into());
    }
    for field in meta::SERVER_FIELDS {
        json::remove(value, &["metadata", field]);
    }
    let now = meta::timestamp();
    json::set(value, &["metadata", "uid"], uuid::Uuid::new_v4().to_string().into());
    json::set(value, &["metadata", "creationTimestamp"], now.as_str().into());
    if resource.generation {
        json::set(value, &["metadata", "generation"], 1.into());
    }
    if resource.status
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("status");
    }
    if *resource.storage == *NAMESPACES {
        let name = json::text(value, &["metadata", "name"]).to_owned();
        json::set(value, &["metadata", "labels", "kubernetes.io/metadata.name"], name.into());
        json::set(value, &["spec", "finalizers"], json!(["kubernetes"]));
        json::set(value, &["status", "phase"], "Active".into());
    }
    if *resource.storage == *CRDS {
        definition::complete(value, None, &now);
    }
    Ok(())
}
