//! The infrastructure provider in a management cluster: leader election between replicas, probes,
//! and metrics for authorized clients.
//!
//! | module | content |
//! |---|---|
//! | `lease` | the state of the Lease, derived from its observations |
//! | `election` | acquires, renews and releases the Lease |
//! | `health` | `/healthz` and `/readyz` |
//! | `diagnostics` | `/metrics` and the log level, for authorized clients |
//! | `client` | a rate-limited client of the API server |
//! | `serve` | `run`: probes, diagnostics, leader election and controllers |

mod client;
mod diagnostics;
mod election;
mod error;
mod fair_queue;
mod health;
mod lease;
mod serve;

pub use client::{Rate, client};
pub use diagnostics::{
    CertificateSecret, DiagnosticsOptions, MetricsText, SetVerbosity, TlsOptions, UnknownTls,
};
pub use election::{ElectionOptions, LeaderStatus};
pub use error::Error;
pub use serve::{Options, run, serve_metrics};
