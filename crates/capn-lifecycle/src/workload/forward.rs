//! A port-forward that ends with whoever holds it.

use kube::api::Portforwarder;

/// Ends a port-forward when it is dropped: its task goes on otherwise, with its connection, as long as the other
/// side keeps that open.
pub(super) struct Forwarder(pub(super) Portforwarder);

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}
