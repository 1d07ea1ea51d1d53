//! Status codes of operations and instances.

use serde::{Deserialize, Serialize};

/// Status code of an operation or an instance.
///
/// Both use one list: `100..=199` means not finished, `200..=399` success, `400..=599` failure. An
/// unknown number is kept as [`StatusCode::Other`], and its range still applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
#[expect(missing_docs, reason = "the names are the server's own and say it all")]
pub enum StatusCode {
    OperationCreated,
    Started,
    Stopped,
    Running,
    Cancelling,
    Pending,
    Starting,
    Stopping,
    Aborting,
    Freezing,
    Frozen,
    Thawed,
    Error,
    Ready,
    Success,
    Failure,
    Cancelled,
    /// An unknown code.
    Other(u16),
}

const TABLE: [(u16, StatusCode); 17] = [
    (100, StatusCode::OperationCreated),
    (101, StatusCode::Started),
    (102, StatusCode::Stopped),
    (103, StatusCode::Running),
    (104, StatusCode::Cancelling),
    (105, StatusCode::Pending),
    (106, StatusCode::Starting),
    (107, StatusCode::Stopping),
    (108, StatusCode::Aborting),
    (109, StatusCode::Freezing),
    (110, StatusCode::Frozen),
    (111, StatusCode::Thawed),
    (112, StatusCode::Error),
    (113, StatusCode::Ready),
    (200, StatusCode::Success),
    (400, StatusCode::Failure),
    (401, StatusCode::Cancelled),
];

impl StatusCode {
    /// Returns whether the code is final for an operation.
    #[must_use]
    pub fn is_final(self) -> bool {
        u16::from(self) >= 200
    }

    /// Returns whether the code means success of an operation.
    #[must_use]
    pub fn is_success(self) -> bool {
        (200..400).contains(&u16::from(self))
    }
}

impl Default for StatusCode {
    /// Zero: the server sent no code.
    fn default() -> Self {
        Self::Other(0)
    }
}

impl From<u16> for StatusCode {
    fn from(number: u16) -> Self {
        TABLE.iter().find(|(n, _)| *n == number).map_or(Self::Other(number), |(_, code)| *code)
    }
}

impl From<StatusCode> for u16 {
    fn from(code: StatusCode) -> Self {
        match code {
            StatusCode::Other(number) => number,
            known => TABLE.iter().find(|(_, c)| *c == known).map_or(0, |(n, _)| *n),
        }
    }
}

impl std::fmt::Display for StatusCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Other(number) => write!(f, "status {number}"),
            Self::OperationCreated => f.write_str("Operation created"),
            known => write!(f, "{known:?}"),
        }
    }
}
