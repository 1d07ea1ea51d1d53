//! How talking to containerd fails.

use thiserror::Error;

/// The act that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CriError {
    /// The exec into the instance.
    #[error("cannot reach containerd in {instance}")]
    Connect {
        /// The instance.
        instance: String,
        /// Why not.
        #[source]
        source: incus_client::Error,
    },
    /// The sandbox came up but is not ready.
    #[error("the pod sandbox in {instance} is not ready")]
    NotReady {
        /// The instance.
        instance: String,
    },
}
