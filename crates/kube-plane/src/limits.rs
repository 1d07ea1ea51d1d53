//! How much others may ask for at the same time.

use std::time::Duration;

/// What clients over HTTPS may take of a plane. Who asks in process has no limits.
///
/// Operators are those in the group `system:masters`; they have a share of their own, so that no
/// user can lock them out. Over a limit the answer is 429 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections, their handshakes, headers and idle times.
    pub connections: bounded_http::Limits,
    /// Requests of all users at the same time, without watches. An answer counts until it is taken.
    pub requests: usize,
    /// Of these, of one user.
    pub requests_of_user: usize,
    /// The operators' share.
    pub requests_of_operators: usize,
    /// Watches of all users at the same time.
    pub watches: usize,
    /// Of these, of one user.
    pub watches_of_user: usize,
    /// The operators' share.
    pub watches_of_operators: usize,
    /// Bytes of all users' bodies and answers above 64 KiB, that are in memory at the same time.
    pub bytes: usize,
    /// Of these, of one user. One larger answer takes all of it.
    pub bytes_of_user: usize,
    /// The operators' share.
    pub bytes_of_operators: usize,
    /// Large requests of all users that are worked on at the same time.
    pub heavy: usize,
    /// Of these, of one user.
    pub heavy_of_user: usize,
    /// The operators' share.
    pub heavy_of_operators: usize,
    /// Time for the body of a request to come.
    pub body: Duration,
    /// Time for the work on a request, and then for its answer to be taken; not for watches.
    pub request: Duration,
    /// Time that a request waits for others to give back what it needs of `bytes`.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Self {
            connections: bounded_http::Limits::default(),
            requests: 200,
            requests_of_user: 40,
            requests_of_operators: 400,
            watches: 2000,
            watches_of_user: 200,
            watches_of_operators: 1000,
            bytes: 48 << 20,
            bytes_of_user: 12 << 20,
            bytes_of_operators: 48 << 20,
            heavy: cores,
            heavy_of_user: cores / 2,
            heavy_of_operators: cores,
            body: Duration::from_secs(30),
            request: Duration::from_secs(60),
            wait: Duration::from_secs(5),
        }
    }
}
