//! Errors of CRI.

use thiserror::Error;

/// Error of a CRI call.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CriError {
    /// The exec in the instance failed.
    #[error("cannot run socat in {instance}")]
    Exec {
        /// The instance.
        instance: String,
        /// Cause.
        #[source]
        source: incus_client::Error,
    },
    /// There is no gRPC connection over the exec.
    #[error("containerd in {instance} does not respond")]
    Connect {
        /// The instance.
        instance: String,
        /// Cause.
        #[source]
        source: tonic::transport::Error,
    },
    /// The runtime returned an error.
    #[error("cannot {act} in {instance}")]
    Call {
        /// Attempted action, as a verb phrase.
        act: &'static str,
        /// The instance.
        instance: String,
        /// Error of the runtime.
        #[source]
        source: Box<tonic::Status>,
    },
    /// The sandbox was started but is not ready.
    #[error("the pod sandbox in {instance} is not ready (state {state})")]
    NotReady {
        /// The instance.
        instance: String,
        /// State, as a number of CRI.
        state: i32,
    },
}

impl CriError {
    /// Returns what the user can check, if known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exec { .. } => None,
            Self::Connect { instance, .. }
            | Self::Call { instance, .. }
            | Self::NotReady { instance, .. } => {
                Some(format!("incus exec {instance} -- journalctl -u containerd"))
            }
        }
    }
}
