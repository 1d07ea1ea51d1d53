//! Errors of requests: `metav1.Status`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    admission::{FieldError, short},
    rbac::{Attributes, RequestTarget},
    registry::Resource,
};

/// Maximum number of causes in a response.
pub(crate) const MAX_CAUSES: usize = 50;

pub(crate) type Result<T, E = ApiError> = std::result::Result<T, E>;

/// Error of a request, as reported to the client.
///
/// Clients branch on `reason`, so every constructor uses the reason of the real API server.
#[derive(Clone, Debug)]
pub(crate) struct ApiError(Box<Inner>);

/// Number of characters at the begin by which a secret is found.
const BEGIN: usize = 16;

#[derive(Clone, Debug)]
struct Inner {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

/// Returns the text without a base64 secret, even if only its beginning is in it.
fn hidden(text: &str, secret: &str) -> String {
    let begin = secret.get(..BEGIN).unwrap_or(secret);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(begin) {
        shown.push_str(&rest[..at]);
        shown.push('…');
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        rest = rest[at..].trim_start_matches(is_base64);
    }
    shown + rest
}

/// Removes a text from all texts of a value, whose depth is that of a Status.
fn hide(value: &mut Value, secret: &str) {
    match value {
        Value::String(text) => *text = hidden(text, secret),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secret)),
        Value::Object(fields) => fields.values_mut().for_each(|field| hide(field, secret)),
        _ => {}
    }
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, reason, message: message.into(), details: None }))
    }

    fn with_details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.0.code
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.0.reason
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.0.code == StatusCode::NOT_FOUND
    }

    pub(crate) fn is_conflict(&self) -> bool {
        self.0.reason == "Conflict"
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the same error without these texts. A patch may have copied a secret to another
    /// place in an object.
    pub(crate) fn without(mut self, secrets: &[&str]) -> Self {
        for secret in secrets {
            self.0.message = hidden(&self.0.message, secret);
            if let Some(details) = &mut self.0.details {
                hide(details, secret);
            }
        }
        self
    }

    /// Returns the body of the response.
    pub(crate) fn to_value(&self) -> Value {
        let Inner { code, reason, message, details } = &*self.0;
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code.as_u16(),
        });
        if let Some(details) = details {
            status["details"] = details.clone();
        }
        status
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(about(resource, name))
    }

    /// 404 for the namespace of a new object.
    pub(crate) fn no_namespace(namespace: &str) -> Self {
        let message = format!("namespaces \"{namespace}\" not found");
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
            .with_details(json!({"name": namespace, "kind": "namespaces"}))
    }

    /// 404 for an unknown path.
    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(json!({}))
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message)
            .with_details(about(resource, name))
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(about(resource, name))
    }

    /// 400: the body is about another object than the path.
    pub(crate) fn other_name(found: &str, name: &str) -> Self {
        Self::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            short(found)
        ))
    }

    /// 409: the object has changed since the client read it.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409: fields of server-side apply belong to other managers; each conflict is (message,
    /// field).
    pub(crate) fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let count = conflicts.len();
        let causes: Vec<Value> = conflicts
            .iter()
            .take(MAX_CAUSES)
            .map(|(message, field)| {
                let (message, field) = (short(message), short(field));
                json!({"reason": "FieldManagerConflict", "message": message, "field": field})
            })
            .collect();
        let mut lines: Vec<String> = conflicts
            .iter()
            .take(MAX_CAUSES)
            .map(|(message, field)| format!("{}: {}", short(message), short(field)))
            .collect();
        lines.extend(more(count));
        let plural = if count == 1 { "" } else { "s" };
        let message = format!("Apply failed with {count} conflict{plural}: {}", lines.join("\n"));
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(json!({"causes": causes}))
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(about(resource, name))
    }

    /// 403: the user is not authorized.
    pub(crate) fn may_not(user: &str, what: &Attributes<'_>, why: &str) -> Self {
        let colon = if why.is_empty() { "" } else { ": " };
        let refused = format!("User \"{user}\" {what}{colon}{why}");
        let RequestTarget::Resource(on) = &what.target else {
            let message = format!("forbidden: {refused}");
            return Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(json!({}));
        };
        let dot = if on.group.is_empty() { "" } else { "." };
        let name = if on.name.is_empty() { String::new() } else { format!(" \"{}\"", on.name) };
        let message = format!("{}{dot}{}{name} is forbidden: {refused}", on.resource, on.group);
        let mut details = json!({"kind": on.resource});
        for (field, text) in [("name", &on.name), ("group", &on.group)] {
            if !text.is_empty() {
                details[field] = json!(text);
            }
        }
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details)
    }

    /// 403 for a create in a namespace that is being deleted; clients recognize it by the cause.
    pub(crate) fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut error = Self::forbidden(resource, name, &why);
        if let Some(details) = &mut error.0.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        error
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        let list = match errors {
            [one] => one.to_string(),
            many => format!("[{}]", sentences(many)),
        };
        let kind = if resource.group.is_empty() {
            resource.kind.to_string()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let name = &short(name);
        let message = format!("{kind} \"{name}\" is invalid: {list}");
        let mut details = about(resource, name);
        details["kind"] = json!(&*resource.kind);
        details["causes"] = causes(errors).into();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(details)
    }

    /// 422 for the options of a request.
    pub(crate) fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {}", sentences(errors));
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
            .with_details(json!({"group": "meta.k8s.io", "kind": kind, "causes": causes(errors)}))
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    pub(crate) fn unsupported_media_type(found: &str, supported: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format ({found}) - accepted media types \
             include: {}",
            supported.join(", ")
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(crate) fn not_acceptable(supported: &[&str]) -> Self {
        let message =
            format!("only the following media types are accepted: {}", supported.join(", "));
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 413 for limits other than bytes.
    pub(crate) fn too_much(why: &str) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("Request entity too large: {why}"),
        )
    }

    /// 429: clients wait as told, and retry.
    pub(crate) fn too_many_requests(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
            .with_details(json!({"retryAfterSeconds": 1}))
    }

    /// 408: the body did not arrive in time.
    pub(crate) fn slow_body() -> Self {
        let message = "the body of the request did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message)
    }

    /// 504: the request took too long. It may still take effect.
    pub(crate) fn timed_out() -> Self {
        let message = "the request did not complete within the allotted timeout";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 504: the requested revision is in the future.
    pub(crate) fn too_large_revision(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_details(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {}", message.into()),
        )
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for ApiError {}

/// Errors in one line; only the first ones if there are many.
pub(crate) fn sentences(errors: &[FieldError]) -> String {
    let first = errors.iter().take(MAX_CAUSES).map(ToString::to_string);
    first.chain(more(errors.len())).collect::<Vec<_>>().join(", ")
}

/// Returns the number of omitted errors, if any.
pub(crate) fn more(count: usize) -> Option<String> {
    count.checked_sub(MAX_CAUSES).filter(|more| *more > 0).map(|more| format!("and {more} more"))
}

fn causes(errors: &[FieldError]) -> Vec<Value> {
    let causes = errors.iter().take(MAX_CAUSES).map(|error| {
        json!({"reason": error.kind.reason(), "message": error.cause(), "field": error.place()})
    });
    causes.collect()
}

/// `details` that name an object. Kubernetes puts the plural in `kind`.
fn about(resource: &Resource, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": &*resource.plural});
    if !resource.group.is_empty() {
        details["group"] = json!(&*resource.group);
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted_even_when_truncated() {
        let long = "QUJD".repeat(100);
        let error =
            ApiError::bad_request(format!("kind (VkFMNUVDUkVUeDk=), and {}… too", &long[..40]));
        let error =
            error.with_details(json!({ "causes": [{ "message": "x VkFMNUVDUkVUeDk= y" }] }));
        let shown = error.without(&["VkFMNUVDUkVUeDk=", &long]).to_value();
        assert_eq!(shown["message"], "kind (…), and …… too");
        assert_eq!(shown["details"]["causes"][0]["message"], "x … y");
    }
}
