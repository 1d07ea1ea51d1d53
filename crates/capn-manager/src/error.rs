//! Why a manager ended.

use std::{io, net::SocketAddr};

/// Why a manager did not start, or ended on its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Credentials or certificates for the API server cannot be used.
    #[error("cannot make a client of the API server")]
    Client(#[source] Box<kube::Error>),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What for: `health probes` or `diagnostics`.
        purpose: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A server of probes or diagnostics ended.
    #[error("the server of {purpose} ended")]
    Server {
        /// What it was for.
        purpose: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate of the diagnostics cannot be made.
    #[error("cannot make a certificate for the diagnostics")]
    Certificate(#[source] rcgen::Error),
    /// The TLS settings of the diagnostics cannot be used.
    #[error("cannot set up TLS for the diagnostics")]
    Tls(#[source] rustls::Error),
    /// Another copy took the lead, or this one could not renew it in time. A copy that goes on
    /// would be a second leader, so it ends and is started again as a follower.
    #[error("{identity} leads no more: {why}")]
    LeadLost {
        /// This copy.
        identity: String,
        /// What was seen.
        why: String,
    },
    /// The controllers ended.
    #[error("the controllers ended")]
    Controllers(#[source] capn_provider::Error),
    /// Running reconciles did not end in the time given.
    #[error("reconciles were still running {seconds} s after the request to end")]
    Grace {
        /// The time given.
        seconds: u64,
    },
}
