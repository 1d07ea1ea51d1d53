//! Patches: JSON, merge, strategic merge and apply.

mod apply;
mod json;
mod strategic;

use serde_json::Value;

pub(crate) use self::{apply::Apply, json::JsonPatch};
use crate::{
    api::{Body, Target},
    handlers::{Request, request::content_type},
    json::{from_json, from_yaml},
    status::{ApiError, Result},
    store::limits::Limits,
};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Patch types of custom resources.
pub(crate) const CUSTOM: [&str; 3] = [JSON, MERGE, APPLY];
const BUILTIN: [&str; 4] = [JSON, MERGE, STRATEGIC, APPLY];

/// A patch of one of the types.
pub(crate) enum Patch {
    Json(JsonPatch),
    Merge(Body),
    Strategic(Body),
    Apply(Apply),
}

impl Patch {
    /// Parses the body by its content type.
    pub(crate) fn parse(target: Target<'_>, request: &Request) -> Result<Self> {
        let unread = "the patch is not valid";
        let no_object = || ApiError::bad_request("the patch is not an object");
        let object = |bytes: &[u8]| {
            let (value, duplicates) =
                from_json(bytes, Limits::BODY).map_err(|error| error.answer(unread))?;
            if value.is_object() { Ok(Body { value, duplicates }) } else { Err(no_object()) }
        };
        let kind = content_type(&request.headers);
        match kind {
            JSON => Ok(Self::Json(JsonPatch::parse(&request.body)?)),
            MERGE => Ok(Self::Merge(object(&request.body)?)),
            STRATEGIC if target.resource.builtin => Ok(Self::Strategic(object(&request.body)?)),
            APPLY | "application/apply-patch+json" => {
                let body = match from_json(&request.body, Limits::BODY) {
                    Ok((value, duplicates)) => Body { value, duplicates },
                    Err(_) => from_yaml(&request.body, Limits::BODY)
                        .map_err(|error| error.answer(unread))?
                        .into(),
                };
                if !body.value.is_object() {
                    return Err(no_object());
                }
                Ok(Self::Apply(Apply::new(target, body, &request.query)?))
            }
            other if target.resource.builtin => {
                Err(ApiError::unsupported_media_type(other, &BUILTIN))
            }
            other => Err(ApiError::unsupported_media_type(other, &CUSTOM)),
        }
    }

    /// Returns the patched object.
    pub(crate) fn apply(&self, target: Target<'_>, old: &Value) -> Result<Body> {
        let mut value = old.clone();
        let mut duplicates = Vec::new();
        match self {
            Self::Json(patch) => {
                patch.apply(&mut value).map_err(|error| {
                    let error = crate::FieldError::plain(
                        "patch",
                        crate::FieldErrorKind::Invalid,
                        format!(
                            "the server rejected our request due to an error in our request: \
                             {error}"
                        ),
                    );
                    ApiError::invalid(target.resource, target.name, &[error])
                })?;
            }
            Self::Merge(patch) => {
                json_patch::merge(&mut value, &patch.value);
                duplicates.clone_from(&patch.duplicates);
            }
            Self::Strategic(patch) => {
                strategic::merge(&mut value, &patch.value)?;
                duplicates.clone_from(&patch.duplicates);
            }
            Self::Apply(_) => return Err(ApiError::internal("an apply is not a plain patch")),
        }
        Ok(Body { value, duplicates })
    }
}
