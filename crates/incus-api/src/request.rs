//! Requests: method, escaped path, query, headers, JSON body.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "HTTP's own names")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Returns the name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request to the API, as data.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

impl Request {
    /// Creates a request for `/1.0/SEGMENT/…`. Every segment is escaped, so names may contain
    /// slashes.
    #[must_use]
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let mut path = String::from("/1.0");
        for segment in segments {
            path.push('/');
            escape_into(&mut path, segment);
        }
        Self { method, path, query: Vec::new(), headers: Vec::new(), body: None }
    }

    /// `GET`.
    #[must_use]
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::Get, segments)
    }

    /// `POST`.
    #[must_use]
    pub fn post(segments: &[&str]) -> Self {
        Self::new(Method::Post, segments)
    }

    /// `PUT`.
    #[must_use]
    pub fn put(segments: &[&str]) -> Self {
        Self::new(Method::Put, segments)
    }

    /// `PATCH`.
    #[must_use]
    pub fn patch(segments: &[&str]) -> Self {
        Self::new(Method::Patch, segments)
    }

    /// `DELETE`.
    #[must_use]
    pub fn delete(segments: &[&str]) -> Self {
        Self::new(Method::Delete, segments)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn query_opt(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((key.into(), value.into()));
        self
    }

    /// Makes the request fail with 412 when the object no longer has this ETag.
    #[must_use]
    pub fn if_match(self, etag: Option<&str>) -> Self {
        match etag {
            Some(etag) => self.header("If-Match", etag),
            None => self,
        }
    }

    /// Sets the JSON body.
    ///
    /// # Errors
    /// Returns an error when the value cannot be serialized (a map with keys that are not strings).
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        self.body = Some(serde_json::to_value(body)?);
        Ok(self)
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the escaped path, without query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the escaped path and query.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        let mut text = self.path.clone();
        for (n, (key, value)) in self.query.iter().enumerate() {
            text.push(if n == 0 { '?' } else { '&' });
            escape_into(&mut text, key);
            text.push('=');
            escape_into(&mut text, value);
        }
        text
    }

    /// Returns the headers, besides those of the body.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Returns the JSON body.
    #[must_use]
    pub fn body(&self) -> Option<&Value> {
        self.body.as_ref()
    }
}

/// Encodes as `KEY=VALUE&…`, the form of properties and aliases in image headers.
#[must_use]
pub fn form_encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        escape_into(&mut text, key);
        text.push('=');
        escape_into(&mut text, value);
    }
    text
}

fn escape_into(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}
