//! The envelope of responses.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Operation;

/// A response of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A result.
    Sync(Value),
    /// A started operation.
    Async(Box<Operation>),
    /// An error.
    Error {
        /// HTTP status code.
        code: u16,
        /// Message of the server.
        message: String,
    },
}

/// The response is not from this API.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// Not JSON, or not an object of the expected form.
    #[error("the response does not have the form of the Incus or LXD API")]
    Shape(#[source] serde_json::Error),
    /// `type` is not `sync`, `async` or `error`.
    #[error("the response has the unknown type {0:?}")]
    UnknownType(String),
}

/// The envelope on the wire.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    status_code: u16,
    operation: String,
    error_code: u16,
    error: String,
    metadata: Value,
}

impl Reply {
    /// Parses a response.
    ///
    /// # Errors
    /// [`ReplyError`] when the bytes are not an envelope in JSON, or of an unknown type.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReplyError> {
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(ReplyError::Shape)?;
        match envelope.kind.as_str() {
            "sync" => Ok(Self::Sync(envelope.metadata)),
            "async" => {
                let mut operation: Operation =
                    serde_json::from_value(envelope.metadata).map_err(ReplyError::Shape)?;
                if operation.id.is_empty() {
                    let id = envelope.operation.rsplit('/').next().unwrap_or_default();
                    operation.id = id.split('?').next().unwrap_or_default().to_owned();
                }
                Ok(Self::Async(Box::new(operation)))
            }
            "error" => Ok(Self::Error { code: envelope.error_code, message: envelope.error }),
            other => Err(ReplyError::UnknownType(other.to_owned())),
        }
    }

    /// Returns the envelope of a result, as a server sends it.
    #[must_use]
    pub fn sync_json(metadata: Value) -> Value {
        to_value(Envelope {
            kind: "sync".into(),
            status: "Success".into(),
            status_code: 200,
            metadata,
            ..Envelope::default()
        })
    }

    /// Returns the envelope of a started operation, as a server sends it.
    #[must_use]
    pub fn async_json(operation: &Operation) -> Value {
        to_value(Envelope {
            kind: "async".into(),
            status: "Operation created".into(),
            status_code: 100,
            operation: format!("/1.0/operations/{}", operation.id),
            metadata: to_value(operation),
            ..Envelope::default()
        })
    }

    /// Returns the envelope of an error, as a server sends it.
    #[must_use]
    pub fn error_json(code: u16, message: &str) -> Value {
        to_value(Envelope {
            kind: "error".into(),
            error_code: code,
            error: message.into(),
            ..Envelope::default()
        })
    }
}

fn to_value(value: impl Serialize) -> Value {
    // Only maps with keys that are not text can fail, and there are none.
    serde_json::to_value(value).unwrap_or_default()
}
