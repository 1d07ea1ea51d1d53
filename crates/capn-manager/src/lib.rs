//! The infrastructure provider as a member of a management cluster: one of several copies leads,
//! probes ask for its health, whoever may reads its metrics.
//!
//! | module | is |
//! |---|---|
//! | `lease` | who may lead, as a function of what was seen of a Lease |
//! | `election` | gets, keeps and gives back the Lease |
//! | `health` | `/healthz` and `/readyz` |
//! | `diagnostics` | `/metrics` and the log level, for those whom the API server lets in |
//! | `client` | a client of the API server that sends so many requests a second |
//! | `serve` | `run`: all of it together |

mod client;
mod diagnostics;
mod election;
mod error;
mod health;
mod lease;
mod serve;
mod turns;

pub use client::{Rate, client};
pub use diagnostics::{
    CertificateSecret, DiagnosticsOptions, MetricsText, SetVerbosity, TlsOptions, UnknownTls,
};
pub use election::{ElectionOptions, LeaderStatus};
pub use error::Error;
pub use serve::{Options, run, serve_metrics};
