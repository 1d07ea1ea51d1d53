//! Connections to Incus and LXD servers: identities, one pooled connection per identity, and events
//! of the server.

mod certificates;
mod identity;
mod local;
mod pool;
mod watch;

pub(crate) use certificates::{Certificates, RENEW_CLIENT};
pub use identity::{Connect, Identity, IdentityError, Server};
pub use local::LocalSockets;
pub(crate) use pool::{Remote, RemoteKey, Remotes};
pub(crate) use watch::Signal;
