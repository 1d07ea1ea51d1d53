//! Responses in the envelope of the server.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use incus_api::{Operation, Reply};
use serde::Serialize;
use serde_json::Value;

/// An error response.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: format!("{what} not found") }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.into() }
    }

    pub(crate) fn conflict(what: impl std::fmt::Display) -> Self {
        Self { status: StatusCode::CONFLICT, message: format!("{what} already exists") }
    }

    pub(crate) fn stale() -> Self {
        Self { status: StatusCode::PRECONDITION_FAILED, message: "ETag doesn't match".to_owned() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        error(self.status, &self.message)
    }
}

pub(crate) type ApiResult = Result<Response, ApiError>;

pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(Reply::error_json(status.as_u16(), message))).into_response()
}

pub(crate) fn json(value: impl Serialize) -> Value {
    // The wire types have text keys only and are always valid JSON.
    serde_json::to_value(value).unwrap_or_default()
}

pub(crate) fn sync(value: impl Serialize) -> Response {
    Json(Reply::sync_json(json(value))).into_response()
}

pub(crate) fn empty() -> Response {
    sync(Value::Null)
}

pub(crate) fn started(operation: &Operation) -> Response {
    (StatusCode::ACCEPTED, Json(Reply::async_json(operation))).into_response()
}

/// A response with an object and its ETag.
pub(crate) fn tagged(value: impl Serialize) -> Response {
    let value = json(value);
    ([("ETag", etag(&value))], Json(Reply::sync_json(value))).into_response()
}

pub(crate) fn etag(value: &Value) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Rejects a change of an object that differs from what the client read.
pub(crate) fn check_tag(headers: &http::HeaderMap, value: impl Serialize) -> Result<(), ApiError> {
    match headers.get("If-Match") {
        Some(tag) if tag.as_bytes() != etag(&json(value)).as_bytes() => Err(ApiError::stale()),
        _ => Ok(()),
    }
}
