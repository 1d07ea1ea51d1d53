//! The numbers.

use std::time::Duration;

/// What connections to a server may take.
///
/// All places together are [`Limits::connections`]; each is a file descriptor and some 50 kB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of those whose user is not known (yet).
    pub strangers: usize,
    /// Of these, from one address.
    pub strangers_of_address: usize,
    /// Connections of users who are known.
    pub known: usize,
    /// Of these, of one user.
    pub known_of_user: usize,
    /// Connections of operators: a share that no other user can take.
    pub operators: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time until the headers of a request have come whole, from the connection or the last answer
    /// on, for a stranger.
    pub stranger_idle: Duration,
    /// The same, for who is known. Longer than clients keep idle connections, so that it is they who
    /// close them and no request meets a closing connection.
    pub idle: Duration,
    /// Time for which a peer may take nothing of what it is sent.
    pub stalled: Duration,
    /// Time for an answer to begin, with the reading of the request's body. `None`: the service
    /// bounds it.
    pub answer: Option<Duration>,
    /// Time for requests to end after the shutdown.
    pub grace: Duration,
    /// Bytes of a request's headers.
    pub header_bytes: u32,
    /// Requests at the same time on one connection of somebody who is known (HTTP/2).
    pub streams: u32,
    /// The same, of a stranger.
    pub stranger_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            strangers: 600,
            strangers_of_address: 500,
            known: 600,
            known_of_user: 100,
            operators: 400,
            handshake: Duration::from_secs(10),
            stranger_idle: Duration::from_secs(20),
            idle: Duration::from_secs(300),
            stalled: Duration::from_secs(30),
            answer: None,
            grace: Duration::from_secs(3),
            header_bytes: 64 << 10,
            streams: 250,
            stranger_streams: 20,
        }
    }
}

impl Limits {
    /// For servers that know nobody, as those of probes and metrics.
    #[must_use]
    pub fn of_strangers() -> Self {
        Self {
            strangers: 200,
            strangers_of_address: 150,
            answer: Some(Duration::from_secs(10)),
            grace: Duration::from_secs(1),
            header_bytes: 16 << 10,
            ..Self::default()
        }
    }

    /// The same, with fewer places where the process may not open that many files: connections get
    /// half of them.
    #[must_use]
    pub fn within(mut self, files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let (all, may) = (self.connections(), files / 2);
        if all > may {
            for places in [
                &mut self.strangers,
                &mut self.strangers_of_address,
                &mut self.known,
                &mut self.known_of_user,
                &mut self.operators,
            ] {
                *places = (*places * may / all).max(1);
            }
        }
        self
    }

    /// Connections in all.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.strangers.saturating_add(self.known).saturating_add(self.operators)
    }
}
