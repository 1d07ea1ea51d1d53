//! Responses.

use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::Value;

use super::reserved_body::ResponseTimeout;
use crate::{service::ResponseBody, status::ApiError};

pub(crate) const JSON: &str = "application/json";

/// Returns a response with JSON.
pub(crate) fn json(code: StatusCode, value: &Value) -> Response<ResponseBody> {
    // A `Value` always serializes.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    raw(code, JSON, bytes.into())
}

/// Returns a response with bytes of a media type.
pub(crate) fn raw(
    code: StatusCode,
    content_type: &'static str,
    bytes: Bytes,
) -> Response<ResponseBody> {
    let body = Full::new(bytes).map_err(|never| match never {});
    let mut response = Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Returns the error response.
pub(crate) fn failed(error: &ApiError) -> Response<ResponseBody> {
    let value = error.to_value();
    let mut response = json(error.code(), &value);
    if let Some(seconds) = value["details"]["retryAfterSeconds"].as_u64() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Returns a response with streamed JSON.
pub(crate) fn stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<ResponseBody> {
    use futures::StreamExt;
    let frames = pieces.map(|piece| Ok::<_, ResponseTimeout>(Frame::data(piece)));
    let mut response = Response::new(UnsyncBoxBody::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Adds warnings for clients to print.
pub(crate) fn warn(response: &mut Response<ResponseBody>, warnings: &[String]) {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
