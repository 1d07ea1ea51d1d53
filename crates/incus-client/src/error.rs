//! What can go wrong, and what kind of wrong it is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use incus_api::{ReplyError, StatusCode};

use crate::transport::is_not_permitted;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The request an error is about: method and path.
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

    /// HTTP method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.0.method
    }

    /// Path and query. Secrets of WebSockets are left out.
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

/// A failed act.
///
/// `Display` is one link: what this layer tried. The cause is in
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused or failed a request.
    #[error("{call}: the server answered {status}: {message}")]
    Api {
        /// The request.
        call: Call,
        /// HTTP status.
        status: u16,
        /// The server's text.
        message: String,
    },
    /// No connection to the server.
    #[error("{call}: cannot connect to {endpoint}")]
    Connect {
        /// The request.
        call: Call,
        /// Socket path or URL.
        endpoint: String,
        /// Cause.
        source: hyper_util::client::legacy::Error,
    },
    /// The connection broke before an answer came. The server may have acted or not.
    #[error("{call}: the connection to {endpoint} broke before the answer")]
    Send {
        /// The request.
        call: Call,
        /// Socket path or URL.
        endpoint: String,
        /// Cause.
        source: hyper_util::client::legacy::Error,
    },
    /// The connection broke within the answer.
    #[error("{call}: the answer broke off")]
    ReadAnswer {
        /// The request.
        call: Call,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time. The server may have acted or not.
    #[error("{call}: no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// The request.
        call: Call,
        /// How long was waited.
        after: Duration,
    },
    /// The request cannot be built.
    #[error("{call}: cannot build the request")]
    BuildRequest {
        /// The request.
        call: Call,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not of this API.
    #[error("{call}: cannot understand the answer")]
    Envelope {
        /// The request.
        call: Call,
        /// Cause.
        source: ReplyError,
    },
    /// The answer's content has an unexpected form.
    #[error("{call}: the answer is not {what}")]
    Decode {
        /// The request.
        call: Call,
        /// What was expected.
        what: &'static str,
        /// Cause.
        source: serde_json::Error,
    },
    /// An answer of another kind than expected (an operation instead of a result, or the reverse).
    #[error("{call}: the server answered with {got}, not with {expected}")]
    UnexpectedReply {
        /// The request.
        call: Call,
        /// What came.
        got: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// An operation ended without success.
    #[error("operation {id} ({description}) failed: {message}")]
    OperationFailed {
        /// The operation.
        id: String,
        /// What it did, in the server's words.
        description: String,
        /// How it ended.
        status: StatusCode,
        /// The server's text.
        message: String,
    },
    /// The server no longer knows the operation: it ended, or the server was restarted. Look at
    /// the resource to learn what became of it.
    #[error("operation {id} ({description}) is no longer known to the server")]
    OperationLost {
        /// The operation.
        id: String,
        /// What it did, in the server's words.
        description: String,
    },
    /// The operation did not end in time; it goes on on the server.
    #[error("operation {id} ({description}) did not end within {} s", after.as_secs_f32())]
    OperationDeadline {
        /// The operation.
        id: String,
        /// What it does, in the server's words.
        description: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server did not switch to the WebSocket protocol.
    #[error("{call}: the server did not open a WebSocket: {reason}")]
    Upgrade {
        /// The request.
        call: Call,
        /// Why.
        reason: String,
    },
    /// A WebSocket broke.
    #[error("{call}: the WebSocket broke")]
    WebSocket {
        /// The request that opened it.
        call: Call,
        /// Cause.
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// A command did not end in time; it was killed.
    #[error("command {command:?} in instance {instance} did not end within {} s", after.as_secs_f32())]
    ExecDeadline {
        /// Instance.
        instance: String,
        /// Program.
        command: String,
        /// How long was waited.
        after: Duration,
    },
    /// The streams of a command broke.
    #[error("command {command:?} in instance {instance}: its streams broke")]
    ExecStreams {
        /// Instance.
        instance: String,
        /// Program.
        command: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A command ran, but the server did not say how it ended.
    #[error("command {command:?} in instance {instance}: the server gave no exit code")]
    ExecNoExitCode {
        /// Instance.
        instance: String,
        /// Program.
        command: String,
    },
    /// The remote's certificates or key cannot be used.
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
    /// An alias points to an image that is not the one meant.
    #[error("image alias {alias} points to image {found}, not to {wanted}")]
    AliasTaken {
        /// The alias.
        alias: String,
        /// What it points to.
        found: String,
        /// What it should point to.
        wanted: String,
    },
}

/// Texts of servers that mean "not now"; all were seen in Incus or LXD sources.
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
    /// HTTP status, when the server answered with one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The server's own text, when it gave one.
    #[must_use]
    pub fn server_text(&self) -> Option<&str> {
        match self {
            Self::Api { message, .. } | Self::OperationFailed { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The thing asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// The request clashes with what exists: 409, or an "already exists" in other words.
    ///
    /// Servers check some names only within the operation, so a failed operation counts as well.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
            || self.server_text().is_some_and(|text| {
                text.contains("already exists") || text.contains("UNIQUE constraint failed")
            })
    }

    /// The object changed since it was read (412).
    #[must_use]
    pub fn is_precondition_failed(&self) -> bool {
        self.status() == Some(412)
    }

    /// The server does not let this client do that (401 or 403).
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// The server could not be reached, or the connection broke: nothing is known of the effect.
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

    /// No address of the server may be connected to by this client, as
    /// [`Client::https_builder_within`](crate::Client::https_builder_within) was told.
    #[must_use]
    pub fn not_permitted(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if is_not_permitted(source))
    }

    /// Worth another try with the same input: no connection, a server that is starting or busy,
    /// an operation whose end was not seen. Everything else stays as it is until someone changes
    /// something.
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

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { source, .. } => match io_kind(source)? {
                std::io::ErrorKind::NotFound => {
                    Some("install and start Incus, or name another socket or remote")
                }
                std::io::ErrorKind::ConnectionRefused => Some("start the Incus or LXD daemon"),
                std::io::ErrorKind::PermissionDenied => {
                    Some("join the group that owns the socket (incus-admin or lxd), or run as root")
                }
                _ => None,
            },
            _ if self.is_forbidden() => {
                Some("let the server trust this client's certificate, and allow it the project")
            }
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

/// An error with its causes in one line, for logs.
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
