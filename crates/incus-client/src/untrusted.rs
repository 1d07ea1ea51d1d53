//! Redaction of messages from servers that have not been recognized as Incus or LXD.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use incus_api::{ReplyError, Server};

use crate::error::Error;

/// Replaces the message of an untrusted server.
const REDACTED: &str =
    "the message is hidden because the server has not been identified as Incus or LXD";

/// Decides whether messages of a server may be shown. When another user chose the address,
/// messages are hidden until the server has responded as Incus or LXD.
#[derive(Clone, Debug, Default)]
pub(crate) struct Untrusted(Option<Arc<State>>);

#[derive(Debug)]
struct State {
    is_known: AtomicBool,
    /// The certificate of the server is not verified.
    is_unverified: bool,
}

impl Untrusted {
    pub(crate) fn new(is_unverified: bool) -> Self {
        Self(Some(Arc::new(State { is_known: AtomicBool::new(false), is_unverified })))
    }

    /// Notes that the server answered as Incus or LXD.
    pub(crate) fn recognize(&self, server: &Server) {
        let is_server = server.api_version == "1.0"
            && matches!(server.auth.as_str(), "trusted" | "untrusted")
            && !server.api_extensions.is_empty();
        if let Some(state) = self.0.as_ref().filter(|_| is_server) {
            state.is_known.store(true, Ordering::Relaxed);
        }
    }

    /// Removes the messages of the server from an error while the server is untrusted.
    pub(crate) fn redact(&self, error: Error) -> Error {
        let Some(state) = &self.0 else { return error };
        if state.is_known.load(Ordering::Relaxed) && !state.is_unverified {
            return error;
        }
        let json = || <serde_json::Error as serde::de::Error>::custom(REDACTED);
        match error {
            Error::Api { call, status, .. } => {
                Error::Api { call, status, message: REDACTED.to_owned() }
            }
            Error::Envelope { call, .. } => {
                Error::Envelope { call, source: ReplyError::Shape(json()) }
            }
            Error::Decode { call, what, .. } => Error::Decode { call, what, source: json() },
            Error::OperationFailed { id, description: _, status, message: _ } => {
                let description = "hidden".to_owned();
                Error::OperationFailed { id, description, status, message: REDACTED.to_owned() }
            }
            other => other,
        }
    }
}
