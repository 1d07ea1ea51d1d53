//! Server-side apply.

use http::StatusCode;
use serde_json::Value;

use crate::{
    admission::{FieldError, short},
    api::{Api, Body, Subresource, Target, WriteOptions, Written},
    handlers::request::Query,
    json,
    managed::Intent,
    registry::SchemaSource,
    schema::prune,
    status::{ApiError, Result},
};

/// Maximum number of attempts when others create and delete the object meanwhile.
const TRIES: usize = 5;
/// Maximum size of a manager name, in bytes.
const MAX_MANAGER: usize = 128;

/// An apply request.
pub(crate) struct Apply {
    body: Body,
    manager: String,
    force: bool,
}

impl Apply {
    pub(super) fn new(target: Target<'_>, mut body: Body, query: &Query) -> Result<Self> {
        let manager = query.get("fieldManager").to_owned();
        if manager.is_empty() || manager.len() > MAX_MANAGER {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(ApiError::invalid_options("PatchOptions", &[error]));
        }
        let value = &mut body.value;
        match json::remove(value, &["metadata", "managedFields"]) {
            None | Some(Value::Null) => {}
            Some(list) if list.as_array().is_some_and(Vec::is_empty) => {}
            Some(_) => {
                return Err(ApiError::bad_request("metadata.managedFields must be nil"));
            }
        }
        for (field, wanted) in [
            ("apiVersion", target.resource.api_version()),
            ("kind", target.resource.kind.to_string()),
        ] {
            let found = short(json::text(value, &[field]));
            if found != wanted {
                return Err(ApiError::bad_request(format!(
                    "{field} of the applied object is {found:?}, it must be {wanted:?}"
                )));
            }
        }
        let name = json::text(value, &["metadata", "name"]);
        if name.is_empty() {
            json::set(value, &["metadata", "name"], target.name.into());
        } else if name != target.name {
            return Err(ApiError::other_name(name, target.name));
        }
        drop_nulls(value);
        Ok(Self { body, manager, force: query.flag("force") })
    }

    /// Applies, and creates a missing object if `may_create` allows it.
    pub(crate) async fn run(
        &self,
        api: &Api,
        target: Target<'_>,
        options: &WriteOptions,
        may_create: impl Fn() -> Result<()>,
    ) -> Result<Written> {
        let options = &WriteOptions { manager: self.manager.clone(), ..options.clone() };
        let part = self.part(&target);
        let wanted = ownable(&part, &target);
        let intent = Intent { target, manager: &self.manager, force: self.force, wanted: &wanted };
        for _ in 0..TRIES {
            let merge = |old: &Value| {
                // Unknown fields are kept, so that the response names them.
                let full = Intent { wanted: &part, ..intent };
                full.check(old)?;
                let value = full.merge(old).map_err(|c| ApiError::apply_conflict(&c))?;
                Ok(Body { value, duplicates: self.body.duplicates.clone() })
            };
            let note = |_: &Target<'_>, new: &mut Value, old: &Value, _: &WriteOptions| {
                intent.note(new, old);
            };
            match api.update_with(target, options, merge, &note).await {
                Err(error) if error.is_not_found() => {}
                result => return result,
            }
            if target.subresource != Subresource::None {
                return Err(ApiError::not_found(target.resource, target.name));
            }
            may_create()?;
            let uid = json::text(&self.body.value, &["metadata", "uid"]);
            if !uid.is_empty() {
                return Err(ApiError::conflict(
                    target.resource,
                    target.name,
                    &format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing \
                         object was found"
                    ),
                ));
            }
            let created = api
                .create_with(
                    target.resource,
                    target.namespace,
                    Body { value: part.clone(), duplicates: self.body.duplicates.clone() },
                    options,
                    |_, new, _| intent.note_created(new),
                )
                .await;
            match created {
                // Another client created it in the meantime: retry as an update.
                Err(error) if error.code() == StatusCode::CONFLICT => {}
                result => return result,
            }
        }
        Err(ApiError::modified(target.resource, target.name))
    }

    /// Returns the part of the body for this path: the object without its status, or the status.
    fn part(&self, target: &Target<'_>) -> Value {
        let mut part = self.body.value.clone();
        if let Some(fields) = part.as_object_mut()
            && target.resource.status
        {
            let status = target.subresource == Subresource::Status;
            fields.retain(|name, _| {
                matches!(name.as_str(), "apiVersion" | "kind" | "metadata")
                    || (name == "status") == status
            });
        }
        part
    }
}

/// Returns the fields that a manager can own: known fields, and no metadata together with the
/// status.
fn ownable(part: &Value, target: &Target<'_>) -> Value {
    let mut wanted = part.clone();
    if !matches!(target.resource.source, SchemaSource::None) {
        prune(&target.resource.compiled().schema, &mut wanted);
    }
    if target.subresource == Subresource::Status {
        json::remove(&mut wanted, &["metadata"]);
    }
    wanted
}

/// A `null` in an applied object has no meaning.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
