//! Errors of a manager.

use std::{io, net::SocketAddr};

/// Errors of a manager.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The credentials or certificates for the API server are unusable.
    #[error("cannot create a client for the API server")]
    Client(#[source] Box<kube::Error>),
    /// Listening on an address failed.
    #[error("cannot listen on {address} for {purpose}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Purpose of the address: `health probes` or `diagnostics`.
        purpose: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The server for probes or diagnostics ended.
    #[error("the server for {purpose} stopped")]
    Server {
        /// Purpose of the server.
        purpose: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The self-signed certificate of the diagnostics cannot be created.
    #[error("cannot create a certificate for the diagnostics")]
    Certificate(#[source] rcgen::Error),
    /// The TLS settings of the diagnostics are unusable.
    #[error("cannot set up TLS for the diagnostics")]
    Tls(#[source] rustls::Error),
    /// Another replica took over, or this one could not renew its Lease in time. To prevent a
    /// second leader, the process exits and is restarted as a follower.
    #[error("{identity} is no longer the leader: {why}")]
    LeadLost {
        /// Identity of this replica.
        identity: String,
        /// The reason.
        why: String,
    },
    /// The controllers stopped unexpectedly.
    #[error("the controllers stopped unexpectedly")]
    Controllers(#[source] capn_provider::Error),
    /// Running reconciles did not finish within the grace period.
    #[error("reconciles were still running {seconds} s after the shutdown request")]
    Grace {
        /// The grace period.
        seconds: u64,
    },
}
