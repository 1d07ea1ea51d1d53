//! Errors and their classification.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use incus_api::{ReplyError, StatusCode};

use crate::transport::is_not_permitted;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The request that an error is about: method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call(pub(crate) Box<CallParts>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallParts {
    pub(crate) method: &'static str,
    pub(crate) path: String,
}

impl Call {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self(Box::new(CallParts { method, path: path.into() }))
    }

    /// Returns the HTTP method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.0.method
    }

    /// Returns the path and query, without the secrets of WebSockets.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.method, self.0.path)
    }
}

/// Error of a request or an operation.
///
/// `Display` says what this layer tried. The cause is in [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server returned an error.
    #[error("{call}: the server returned status {status}: {message}")]
    Api {
        /// The request.
        call: Call,
        /// HTTP status.
        status: u16,
        /// Message of the server.
        message: String,
    },
    /// No connection to the server could be made.
    #[error("{call}: cannot connect to {endpoint}")]
    Connect {
        /// The request.
        call: Call,
        /// Socket path or URL.
        endpoint: String,
        /// Cause.
        source: hyper_util::client::legacy::Error,
    },
    /// The connection was lost before the response. The server may or may not have acted.
    #[error("{call}: the connection to {endpoint} was lost before the response")]
    Send {
        /// The request.
        call: Call,
        /// Socket path or URL.
        endpoint: String,
        /// Cause.
        source: hyper_util::client::legacy::Error,
    },
    /// The connection was lost within the response.
    #[error("{call}: the response is incomplete")]
    ReadAnswer {
        /// The request.
        call: Call,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There was no response in time. The server may or may not have acted.
    #[error("{call}: no response within {} s", after.as_secs_f32())]
    Timeout {
        /// The request.
        call: Call,
        /// Time limit that passed.
        after: Duration,
    },
    /// The request could not be built.
    #[error("{call}: cannot build the request")]
    BuildRequest {
        /// The request.
        call: Call,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The response does not have the form of this API.
    #[error("{call}: the response is not from the Incus or LXD API")]
    Envelope {
        /// The request.
        call: Call,
        /// Cause.
        source: ReplyError,
    },
    /// The content of the response has an unexpected form.
    #[error("{call}: the response is not {what}")]
    Decode {
        /// The request.
        call: Call,
        /// What was expected.
        what: &'static str,
        /// Cause.
        source: serde_json::Error,
    },
    /// The response is of another kind than expected: an operation instead of a result, or the
    /// reverse.
    #[error("{call}: the server returned {got} instead of {expected}")]
    UnexpectedReply {
        /// The request.
        call: Call,
        /// What the server returned.
        got: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// An operation failed.
    #[error("operation {id} ({description}) failed: {message}")]
    OperationFailed {
        /// The operation.
        id: String,
        /// Description of the operation by the server.
        description: String,
        /// Final status.
        status: StatusCode,
        /// Message of the server.
        message: String,
    },
    /// The server no longer knows the operation: it has finished, or the server was restarted. Read
    /// the resource to find out the result.
    #[error("operation {id} ({description}) is unknown to the server")]
    OperationLost {
        /// The operation.
        id: String,
        /// Description of the operation by the server.
        description: String,
    },
    /// The operation did not finish in time. It continues on the server.
    #[error("operation {id} ({description}) did not finish within {} s", after.as_secs_f32())]
    OperationDeadline {
        /// The operation.
        id: String,
        /// Description of the operation by the server.
        description: String,
        /// Time limit that passed.
        after: Duration,
    },
    /// The server did not switch to the WebSocket protocol.
    #[error("{call}: the server did not open a WebSocket: {reason}")]
    Upgrade {
        /// The request.
        call: Call,
        /// Reason.
        reason: String,
    },
    /// A WebSocket connection broke.
    #[error("{call}: the WebSocket connection was lost")]
    WebSocket {
        /// The request that opened it.
        call: Call,
        /// Cause.
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// A command did not finish in time and was killed.
    #[error("command {command:?} in instance {instance} did not finish within {} s", after.as_secs_f32())]
    ExecDeadline {
        /// Instance.
        instance: String,
        /// Program.
        command: String,
        /// Time limit that passed.
        after: Duration,
    },
    /// The streams of a command broke.
    #[error("command {command:?} in instance {instance}: the connection to its streams was lost")]
    ExecStreams {
        /// Instance.
        instance: String,
        /// Program.
        command: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A command ran, but the server did not report an exit code.
    #[error("command {command:?} in instance {instance}: the server returned no exit code")]
    ExecNoExitCode {
        /// Instance.
        instance: String,
        /// Program.
        command: String,
    },
    /// The certificates or the key of the remote cannot be used.
    #[error("cannot set up TLS for {url}")]
    Tls {
        /// URL of the remote.
        url: String,
        /// Cause.
        source: crate::TlsError,
    },
    /// A local file cannot be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A local file cannot be written.
    #[error("cannot write {}", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// An alias points to another image than expected.
    #[error("image alias {alias} points to image {found}, not to {wanted}")]
    AliasTaken {
        /// The alias.
        alias: String,
        /// Fingerprint that the alias points to.
        found: String,
        /// Expected fingerprint.
        wanted: String,
    },
}

/// Messages of Incus and LXD that mean "try again later", from their source code.
const BUSY: [&str; 7] = [
    "database is locked",
    "is busy running",
    "operation is already in progress",
    "context deadline exceeded",
    "no available dqlite leader",
    "daemon is shutting down",
    "daemon is starting up",
];

impl Error {
    /// Returns the HTTP status, if the server returned an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns the message of the server, if it returned one.
    #[must_use]
    pub fn server_text(&self) -> Option<&str> {
        match self {
            Self::Api { message, .. } | Self::OperationFailed { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Returns whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Returns whether the request conflicts with an existing object: status 409, or an equivalent
    /// message.
    ///
    /// Servers check some names only within the operation, so a failed operation counts as well.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
            || self.server_text().is_some_and(|text| {
                text.contains("already exists") || text.contains("UNIQUE constraint failed")
            })
    }

    /// Returns whether the object has changed since it was read (status 412).
    #[must_use]
    pub fn is_precondition_failed(&self) -> bool {
        self.status() == Some(412)
    }

    /// Returns whether the server denied the request (status 401 or 403).
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// Returns whether the connection failed, so that the effect of the request is unknown.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Send { .. }
                | Self::ReadAnswer { .. }
                | Self::Timeout { .. }
                | Self::WebSocket { .. }
                | Self::ExecStreams { .. }
        )
    }

    /// Returns whether this client may not connect to any address of the server; see
    /// [`Client::https_builder_within`](crate::Client::https_builder_within).
    #[must_use]
    pub fn not_permitted(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if is_not_permitted(source))
    }

    /// Returns whether a retry with the same input may succeed: the connection failed, the server
    /// is starting or busy, or the end of an operation was missed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        if self.is_connection() {
            return true;
        }
        match self {
            Self::Api { status: 429 | 502 | 503 | 504, .. }
            | Self::OperationLost { .. }
            | Self::OperationDeadline { .. } => true,
            Self::Upgrade { .. } => true,
            _ => self.server_text().is_some_and(|text| {
                let text = text.to_lowercase();
                BUSY.iter().any(|busy| text.contains(busy))
            }),
        }
    }

    /// Returns what the user can do about the error, if known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { source, .. } => match io_kind(source)? {
                std::io::ErrorKind::NotFound => {
                    Some("install and start Incus, or select another socket or remote")
                }
                std::io::ErrorKind::ConnectionRefused => Some("start the Incus or LXD daemon"),
                std::io::ErrorKind::PermissionDenied => {
                    Some("join the group that owns the socket (incus-admin or lxd), or run as root")
                }
                _ => None,
            },
            _ if self.is_forbidden() => Some(
                "add this client's certificate to the server's trust store, with access to the project",
            ),
            _ if self.server_text().is_some_and(|t| t.contains("No space left on device")) => {
                Some("free space in the storage pool, or use another pool")
            }
            _ => None,
        }
    }
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// Formats an error with its causes in one line, for logs.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
