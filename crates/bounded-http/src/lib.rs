//! HTTP servers whose connections, handshakes, headers and idle times are bounded.
//!
//! [`serve`] accepts connections, with TLS or without, and gives their requests to a service. What a
//! stranger may take is small and does not count against those who are known: see [`Limits`].

mod connection;
mod limits;
mod places;
mod serve;
mod stalled;
#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use places::Peer;
pub use serve::{listen, serve};
