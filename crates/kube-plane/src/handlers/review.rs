//! Reviews: SelfSubjectReview, TokenReview, and access reviews.

use std::borrow::Cow;

use http::{Method, Response, StatusCode};
use k8s_openapi::api::{
    authorization::v1::{
        NonResourceAttributes, ResourceAttributes as AskedResource, SubjectAccessReviewSpec,
    },
    rbac::v1::PolicyRule,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Request, response, write};
use crate::{
    FieldError,
    api::Api,
    identity::{Identity, MASTERS},
    json,
    rbac::{Attributes, Decision, RequestTarget, ResourceAttributes},
    registry::Resource,
    service::ResponseBody,
    status::{ApiError, Result},
};

/// Maximum size of the rules in a response, in bytes. Roles of users are far smaller.
const MAX_RULES_BYTES: usize = 1 << 20;

/// Answers the creation of a review. Nothing is stored.
pub(super) fn create(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    if request.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let mut review = write::body(request)?.value;
    if !review.is_object() {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    }
    review["apiVersion"] = resource.api_version().into();
    review["kind"] = (*resource.kind).into();
    let me = &request.identity;
    review["status"] = match &*resource.kind {
        "SelfSubjectReview" => json!({ "userInfo": user_info(me) }),
        "SelfSubjectRulesReview" => rules(api, resource, me, &review)?,
        "SelfSubjectAccessReview" => {
            let spec = spec(resource, &review)?;
            decision(&decide(api, resource, me, &spec)?)
        }
        "TokenReview" => token(api, json::text(&review, &["spec", "token"])),
        _ => {
            let spec: SubjectAccessReviewSpec = spec(resource, &review)?;
            check_namespace(resource, namespace, &spec)?;
            let user = spec.user.clone().unwrap_or_default();
            let groups = spec.groups.clone().unwrap_or_default();
            if user.is_empty() && groups.is_empty() {
                let why = "at least one of user or group must be specified";
                return Err(invalid(resource, FieldError::required("spec.user", why)));
            }
            // Exactly as requested: the caller gives all groups.
            let who = Identity { user: user.into(), groups: groups.into() };
            decision(&decide(api, resource, &who, &spec)?)
        }
    };
    Ok(response::json(StatusCode::CREATED, &review))
}

fn spec<T: DeserializeOwned>(resource: &Resource, review: &Value) -> Result<T> {
    let spec = review.get("spec").filter(|spec| !spec.is_null());
    let spec = spec.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    serde_json::from_value(spec).map_err(|error| {
        let why = json::reason(&error);
        ApiError::bad_request(format!("cannot read spec of the {}: {why}", resource.kind))
    })
}

fn invalid(resource: &Resource, error: FieldError) -> ApiError {
    ApiError::invalid(resource, "", &[error])
}

/// A LocalSubjectAccessReview must be about its own namespace.
fn check_namespace(
    resource: &Resource,
    namespace: Option<&str>,
    spec: &SubjectAccessReviewSpec,
) -> Result<()> {
    let Some(namespace) = namespace else { return Ok(()) };
    let asked = spec.resource_attributes.as_ref().and_then(|asked| asked.namespace.as_deref());
    if asked == Some(namespace) {
        return Ok(());
    }
    let why = format!("must match metadata.namespace: {namespace}");
    let found = asked.unwrap_or_default().into();
    Err(invalid(resource, FieldError::invalid("spec.resourceAttributes.namespace", found, why)))
}

fn decide(
    api: &Api,
    resource: &Resource,
    who: &Identity,
    spec: &SubjectAccessReviewSpec,
) -> Result<Decision> {
    let what = match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(asked), None) => about_resource(asked),
        (None, Some(asked)) => about_path(asked),
        _ => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let error = FieldError::invalid("spec.resourceAttributes", Value::Null, why);
            return Err(invalid(resource, error));
        }
    };
    if who.is_master() {
        return Ok(Decision { allowed: true, reason: format!("member of {MASTERS}") });
    }
    Ok(api.rbac.policy().decide(who, &what))
}

fn about_resource(asked: &AskedResource) -> Attributes<'_> {
    let target = ResourceAttributes {
        group: text(asked.group.as_ref()),
        resource: text(asked.resource.as_ref()),
        subresource: text(asked.subresource.as_ref()),
        namespace: text(asked.namespace.as_ref()),
        name: text(asked.name.as_ref()),
    };
    Attributes { verb: text(asked.verb.as_ref()), target: RequestTarget::Resource(target) }
}

fn about_path(asked: &NonResourceAttributes) -> Attributes<'_> {
    Attributes {
        verb: text(asked.verb.as_ref()),
        target: RequestTarget::Path(text(asked.path.as_ref())),
    }
}

fn text(text: Option<&String>) -> Cow<'_, str> {
    text.map(String::as_str).unwrap_or_default().into()
}

fn decision(decision: &Decision) -> Value {
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.as_str().into();
    }
    status
}

/// Rules of a user in a namespace.
fn rules(api: &Api, resource: &Resource, who: &Identity, review: &Value) -> Result<Value> {
    let namespace = json::text(review, &["spec", "namespace"]);
    if namespace.is_empty() {
        let why = "no namespace on request";
        return Err(invalid(resource, FieldError::required("spec.namespace", why)));
    }
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if who.is_master() {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let policy = api.rbac.policy();
    let (mut bytes, mut is_incomplete) = (0, false);
    for rule in policy.rules(who, namespace) {
        bytes += size(rule);
        if bytes > MAX_RULES_BYTES {
            is_incomplete = true;
            break;
        }
        if let Some(urls) = &rule.non_resource_urls {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": urls}));
            continue;
        }
        let mut entry = json!({
            "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources,
        });
        if let Some(names) = &rule.resource_names {
            entry["resourceNames"] = json!(names);
        }
        resources.push(entry);
    }
    let mut status = json!({
        "resourceRules": resources, "nonResourceRules": paths, "incomplete": is_incomplete,
    });
    if is_incomplete {
        let why =
            format!("the rules have more than {MAX_RULES_BYTES} bytes; only the first are listed");
        status["evaluationError"] = why.into();
    }
    Ok(status)
}

/// Approximate size of a rule in a response, in bytes.
fn size(rule: &PolicyRule) -> usize {
    let lists = [&rule.api_groups, &rule.resources, &rule.resource_names, &rule.non_resource_urls];
    let texts = lists.into_iter().flatten().chain([&rule.verbs]).flatten();
    // Quotes, commas and field names.
    100 + texts.map(|text| text.len() + 3).sum::<usize>()
}

fn token(api: &Api, token: &str) -> Value {
    if api.tokens.knows(token) {
        return json!({"authenticated": true, "user": user_info(&Identity::of_token())});
    }
    json!({"authenticated": false, "user": {}, "error": "the token is not valid for this server"})
}

fn user_info(who: &Identity) -> Value {
    json!({"username": &*who.user, "groups": &*who.groups})
}
