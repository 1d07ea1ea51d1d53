//! Server-side apply.

use serde_json::Value;

use super::merge;
use crate::{
    admission::FieldError,
    api::{Api, Body, Target, WriteOptions, Written},
    handlers::request::Query,
    json,
    status::{ApiError, Result},
};

/// An apply: what one manager wants of an object.
pub(crate) struct Apply {
    body: Body,
    manager: String,
    force: bool,
}

impl Apply {
    pub(super) fn new(target: Target<'_>, mut body: Body, query: &Query) -> Result<Self> {
        let manager = query.get("fieldManager").to_owned();
        if manager.is_empty() {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(ApiError::invalid_options("PatchOptions", &[error]));
        }
        if json::at(&body.value, &["metadata", "managedFields"]).is_some_and(|m| !m.is_null()) {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let name = json::text(&body.value, &["metadata", "name"]);
        if name.is_empty() {
            json::set(&mut body.value, &["metadata", "name"], target.name.into());
        }
        Ok(Self { body, manager, force: query.flag("force") })
    }

    /// Applies, and creates the object if it is absent.
    pub(crate) async fn run(
        &self,
        api: &Api,
        target: Target<'_>,
        options: &WriteOptions,
    ) -> Result<Written> {
        let options = &WriteOptions { manager: self.manager.clone(), ..options.clone() };
        let _ = self.force;
        loop {
            let updated = api
                .update(target, options, |old| {
                    let mut value: Value = old.clone();
                    merge::merge(&mut value, &self.body.value);
                    Ok(Body { value, duplicates: self.body.duplicates.clone() })
                })
                .await;
            match updated {
                Err(error) if error.is_not_found() => {}
                result => return result,
            }
            match api.create(target.resource, target.namespace, self.body.clone(), options).await {
                Err(error) if error.code() == http::StatusCode::CONFLICT => {}
                result => return result,
            }
        }
    }
}
