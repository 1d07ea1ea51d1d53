//! What a server says before it is known to be one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use incus_api::{ReplyError, Server};

use crate::error::Error;

/// Stands for what a stranger said.
const WITHHELD: &str = "what it said is not shown, since it is not known to be Incus or LXD";

/// Whether a server's texts may be shown. A client for whatever address somebody named shows nothing
/// of what is there until that has answered as Incus and LXD do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stranger(Option<Arc<Shown>>);

#[derive(Debug)]
struct Shown {
    is_known: AtomicBool,
    /// It may be anybody: its certificate is not looked at.
    is_anybody: bool,
}

impl Stranger {
    pub(crate) fn new(is_anybody: bool) -> Self {
        Self(Some(Arc::new(Shown { is_known: AtomicBool::new(false), is_anybody })))
    }

    /// It answered as a server does.
    pub(crate) fn meet(&self, server: &Server) {
        let is_server = server.api_version == "1.0"
            && matches!(server.auth.as_str(), "trusted" | "untrusted")
            && !server.api_extensions.is_empty();
        if let Some(shown) = self.0.as_ref().filter(|_| is_server) {
            shown.is_known.store(true, Ordering::Relaxed);
        }
    }

    /// The error without what the server said in it, as long as it is a stranger.
    pub(crate) fn withhold(&self, error: Error) -> Error {
        let Some(shown) = &self.0 else { return error };
        if shown.is_known.load(Ordering::Relaxed) && !shown.is_anybody {
            return error;
        }
        let json = || <serde_json::Error as serde::de::Error>::custom(WITHHELD);
        match error {
            Error::Api { call, status, .. } => {
                Error::Api { call, status, message: WITHHELD.to_owned() }
            }
            Error::Envelope { call, .. } => {
                Error::Envelope { call, source: ReplyError::Shape(json()) }
            }
            Error::Decode { call, what, .. } => Error::Decode { call, what, source: json() },
            Error::OperationFailed { id, description: _, status, message: _ } => {
                let description = "not shown".to_owned();
                Error::OperationFailed { id, description, status, message: WITHHELD.to_owned() }
            }
            other => other,
        }
    }
}
