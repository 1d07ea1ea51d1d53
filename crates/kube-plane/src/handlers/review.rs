//! Reviews: who am I, and may I. Whoever is let in may everything.

use http::{Method, Response, StatusCode};
use serde_json::json;

use super::{Request, response, write};
use crate::{
    registry::Resource,
    service::ResponseBody,
    status::{ApiError, Result},
};

pub(super) fn create(resource: &Resource, request: &Request) -> Result<Response<ResponseBody>> {
    if request.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let mut review = write::body(request)?.value;
    if !review.is_object() {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    }
    review["apiVersion"] = resource.api_version().into();
    review["kind"] = (*resource.kind).into();
    review["status"] = match &*resource.kind {
        "SelfSubjectReview" => json!({"userInfo": {
            "username": &*request.identity.user, "groups": &*request.identity.groups,
        }}),
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        _ => json!({"allowed": true, "reason": "every client of this server is an administrator"}),
    };
    Ok(response::json(StatusCode::CREATED, &review))
}
