//! Limits on concurrent requests.

use std::time::Duration;

/// Limits of clients over HTTPS. In-process clients have no limits.
///
/// Operators are the members of the group `system:masters`. They have their own share, so that no
/// user can lock them out. Above a limit the response is 429 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Limits of connections, handshakes, headers and idle times.
    pub connections: bounded_http::Limits,
    /// Maximum number of concurrent requests of all users, without watches. A request counts until
    /// its response has been read.
    pub requests: usize,
    /// Maximum number of concurrent requests of one user.
    pub requests_per_user: usize,
    /// Maximum number of concurrent requests of operators.
    pub operator_requests: usize,
    /// Maximum number of concurrent watches of all users.
    pub watches: usize,
    /// Maximum number of concurrent watches of one user.
    pub watches_per_user: usize,
    /// Maximum number of concurrent watches of operators.
    pub operator_watches: usize,
    /// Maximum total size of bodies and responses above 64 KiB in memory, for all users, in bytes.
    /// Events of watches may take a quarter of that in addition.
    pub bytes: usize,
    /// As `bytes`, for one user. A single larger response takes all of it.
    pub bytes_per_user: usize,
    /// As `bytes`, for operators.
    pub operator_bytes: usize,
    /// Maximum number of expensive requests of all users that are handled concurrently.
    pub expensive: usize,
    /// As `expensive`, for one user.
    pub expensive_per_user: usize,
    /// As `expensive`, for operators.
    pub operator_expensive: usize,
    /// Time limit to receive the body of a request.
    pub body: Duration,
    /// Time limit to handle a request, and then to send its response; not for watches.
    pub request: Duration,
    /// Time limit of a request to wait for `bytes`.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Self {
            connections: bounded_http::Limits::default(),
            requests: 200,
            requests_per_user: 40,
            operator_requests: 400,
            watches: 2000,
            watches_per_user: 200,
            operator_watches: 1000,
            bytes: 48 << 20,
            bytes_per_user: 12 << 20,
            operator_bytes: 48 << 20,
            expensive: cores,
            expensive_per_user: cores / 2,
            operator_expensive: cores,
            body: Duration::from_secs(30),
            request: Duration::from_secs(60),
            wait: Duration::from_secs(5),
        }
    }
}
