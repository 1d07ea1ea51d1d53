//! Get and list.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Request, list_stream,
    request::{Form, Query},
    response,
};
use crate::{
    api::Api,
    registry::{Access, Resource},
    selectors::Selector,
    service::ResponseBody,
    status::{ApiError, Result},
    store::{Key, Object},
    table::{self, Include},
};

/// One object in the requested form.
pub(crate) fn show(
    resource: &Resource,
    object: &Object,
    code: StatusCode,
    form: Form,
    query: &Query,
) -> Response<ResponseBody> {
    let shown = || -> Result<Response<ResponseBody>> {
        Ok(match form {
            Form::Object | Form::Discovery => {
                response::raw(code, response::JSON, resource.to_served(object)?)
            }
            Form::Partial => {
                response::json(code, &table::partial(resource.to_served_value(object)?))
            }
            Form::Table => {
                let include = Include::parse(query.get("includeObject"));
                let value = resource.to_served_value(object)?;
                let metadata = json!({"resourceVersion": object.revision.to_string()});
                let now = jiff::Timestamp::now();
                let table = table::table(resource, vec![value], metadata, include, true, now);
                response::json(code, &table)
            }
        })
    };
    shown().unwrap_or_else(|error| response::failed(&error))
}

/// Continue token: the revision of the first page and the last object of this page.
#[derive(Serialize, Deserialize)]
struct Continue {
    #[serde(rename = "rv")]
    revision: u64,
    #[serde(rename = "ns")]
    namespace: String,
    #[serde(rename = "n")]
    name: String,
}

/// Returns one page of a list.
pub(crate) async fn list(
    api: &Api,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    form: Form,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    if resource.access == Access::Review {
        return Err(ApiError::method_not_allowed());
    }
    let query = &request.query;
    let selector =
        Selector::parse(resource, query.get("labelSelector"), query.get("fieldSelector"))?;
    let after = parse_continue(query.get("continue"))?;
    let (revision, mut objects) = select(api, resource, namespace, query, after.as_ref())?;
    if let Some(after) = &after {
        let last = Key::new(&resource.storage, &after.namespace, &after.name);
        objects.retain(|object| object.key > last);
    }
    if !selector.is_empty() {
        objects.retain(|object| selector.matches(object));
    }
    let limit = query.number("limit")?.unwrap_or(0);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if limit > 0 && objects.len() > limit {
        let remaining = objects.len() - limit;
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            let token = Continue {
                revision,
                namespace: last.key.namespace.to_string(),
                name: last.key.name.to_string(),
            };
            let token = serde_json::to_vec(&token).unwrap_or_default();
            metadata["continue"] = URL_SAFE_NO_PAD.encode(token).into();
        }
        if selector.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    list_stream::list(resource, objects, metadata, form, request).await
}

/// Returns the objects at the requested revision.
fn select(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    query: &Query,
    after: Option<&Continue>,
) -> Result<(u64, Vec<Arc<Object>>)> {
    let storage = &resource.storage;
    let at = |revision| {
        api.store.list_at(storage, namespace, revision).map(|list| (revision, list)).map_err(|_| {
            ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You must start a new list without the continue parameter.",
            )
        })
    };
    if let Some(after) = after {
        return at(after.revision);
    }
    let asked = query.number("resourceVersion")?.unwrap_or(0);
    let current = api.store.revision();
    if asked > current {
        return Err(ApiError::too_large_revision(asked, current));
    }
    match query.get("resourceVersionMatch") {
        "" | "NotOlderThan" => Ok(api.store.list(storage, namespace)),
        "Exact" if asked > 0 => at(asked),
        other => Err(ApiError::bad_request(format!("invalid resourceVersionMatch: {other}"))),
    }
}

fn parse_continue(text: &str) -> Result<Option<Continue>> {
    if text.is_empty() {
        return Ok(None);
    }
    let token = URL_SAFE_NO_PAD.decode(text).ok().and_then(|t| serde_json::from_slice(&t).ok());
    token.map(Some).ok_or_else(|| ApiError::bad_request("continue key is not valid"))
}
