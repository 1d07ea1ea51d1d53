//! How talking to containerd fails.

use thiserror::Error;

/// The act that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CriError {
    /// The exec into the instance.
    #[error("cannot run socat in {instance}")]
    Exec {
        /// The instance.
        instance: String,
        /// Why not.
        #[source]
        source: incus_client::Error,
    },
    /// No gRPC over the exec.
    #[error("containerd in {instance} does not answer")]
    Connect {
        /// The instance.
        instance: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// The runtime refused or failed.
    #[error("cannot {act} in {instance}")]
    Call {
        /// What was tried, a verb phrase.
        act: &'static str,
        /// The instance.
        instance: String,
        /// The runtime's answer.
        #[source]
        source: Box<tonic::Status>,
    },
    /// The sandbox came up but is not ready.
    #[error("the pod sandbox in {instance} is not ready (state {state})")]
    NotReady {
        /// The instance.
        instance: String,
        /// CRI's number of the state it is in.
        state: i32,
    },
}

impl CriError {
    /// What the user can look at.
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
