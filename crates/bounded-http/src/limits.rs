//! Limits of a server.

use std::time::Duration;

/// Limits on connections to a server.
///
/// [`Limits::connections`] is the total number of connections. Each one takes a file descriptor and
/// about 50 kB of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of connections that have not been authenticated.
    pub unauthenticated: usize,
    /// Maximum number of unauthenticated connections from one address.
    pub unauthenticated_per_address: usize,
    /// Maximum number of connections of all authenticated users.
    pub authenticated: usize,
    /// Maximum number of connections of one authenticated user.
    pub authenticated_per_user: usize,
    /// Maximum number of connections of operators. No other user can take this share.
    pub operators: usize,
    /// Time limit for a TLS handshake.
    pub handshake: Duration,
    /// Time limit for an unauthenticated client to send the complete headers of a request, counted
    /// from the connection or from the last response.
    pub unauthenticated_idle: Duration,
    /// As `unauthenticated_idle`, for authenticated clients. It is longer than clients keep idle
    /// connections, so that clients close them first and no request meets a closing connection.
    pub idle: Duration,
    /// Time limit for a peer to accept data that is sent to it.
    pub write_timeout: Duration,
    /// Time limit for a response to begin, including the time to read the request body. With `None`
    /// the service must set a limit itself.
    pub response: Option<Duration>,
    /// Time for requests to finish after the shutdown.
    pub grace: Duration,
    /// Maximum size of the headers of a request, in bytes.
    pub header_bytes: u32,
    /// Maximum number of concurrent requests on one authenticated HTTP/2 connection.
    pub streams: u32,
    /// Maximum number of concurrent requests on one unauthenticated HTTP/2 connection.
    pub unauthenticated_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unauthenticated: 600,
            unauthenticated_per_address: 500,
            authenticated: 600,
            authenticated_per_user: 100,
            operators: 400,
            handshake: Duration::from_secs(10),
            unauthenticated_idle: Duration::from_secs(20),
            idle: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            response: None,
            grace: Duration::from_secs(3),
            header_bytes: 64 << 10,
            streams: 250,
            unauthenticated_streams: 20,
        }
    }
}

impl Limits {
    /// Limits for servers that do not authenticate clients, such as those of probes and metrics.
    #[must_use]
    pub fn unauthenticated_only() -> Self {
        Self {
            unauthenticated: 200,
            unauthenticated_per_address: 150,
            response: Some(Duration::from_secs(10)),
            grace: Duration::from_secs(1),
            header_bytes: 16 << 10,
            ..Self::default()
        }
    }

    /// Reduces the limits to fit a maximum number of open files. Connections may use half of them.
    #[must_use]
    pub fn within(mut self, files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let (all, allowed) = (self.connections(), files / 2);
        if all > allowed {
            for slots in [
                &mut self.unauthenticated,
                &mut self.unauthenticated_per_address,
                &mut self.authenticated,
                &mut self.authenticated_per_user,
                &mut self.operators,
            ] {
                *slots = (*slots * allowed / all).max(1);
            }
        }
        self
    }

    /// Returns the total number of connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.unauthenticated.saturating_add(self.authenticated).saturating_add(self.operators)
    }
}
