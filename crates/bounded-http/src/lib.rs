//! HTTP servers with bounded connections, handshakes, headers and idle times.
//!
//! [`serve`] accepts connections, with or without TLS, and passes their requests to a service.
//! Unauthenticated connections get a small share of the resources that does not count against the
//! share of authenticated users; see [`Limits`].

mod connection;
mod limits;
mod response_body;
mod serve;
mod slots;
#[cfg(test)]
mod tests;
mod write_timeout;

pub use limits::Limits;
pub use serve::{listen, serve};
pub use slots::Peer;
