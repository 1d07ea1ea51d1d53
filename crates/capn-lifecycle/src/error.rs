//! Errors of the crate ([`Error`]) and of reconciles ([`Failure`]).

use capn_controller::guard::Panicked;
use capn_controller::informers::NotSynced;
use kube::Resource;
use tokio::task::JoinError;

use crate::{contract, workload};

/// Errors of [`crate::run`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A controller ended although no shutdown was requested. With a source, it panicked.
    #[error("the {name} controller stopped unexpectedly")]
    Controller {
        /// Kind of the controller. `any` if it is unknown.
        name: &'static str,
        /// The panic.
        #[source]
        source: Option<JoinError>,
    },
}

impl Error {
    pub(crate) fn ended(ended: Option<Result<&'static str, JoinError>>) -> Self {
        match ended {
            Some(Ok(name)) => Self::Controller { name, source: None },
            Some(Err(source)) => Self::Controller { name: "any", source: Some(source) },
            None => Self::Controller { name: "any", source: None },
        }
    }
}

/// Reconcile error of one object. All of them are retried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A request to the API server failed.
    #[error("{act} {object}")]
    Api {
        /// The operation: `get`, `create`, `patch` …
        act: &'static str,
        /// Kind, namespace and name.
        object: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// A referenced object could not be read.
    #[error("follow the reference of {object}")]
    Contract {
        /// Kind, namespace and name of the object with the reference.
        object: String,
        #[source]
        source: contract::Error,
    },
    /// The workload cluster is unreachable.
    #[error("reach the workload cluster of {object}")]
    Workload {
        /// Kind, namespace and name.
        object: String,
        #[source]
        source: workload::Error,
    },
    /// An object is invalid.
    #[error("{object}: {problem}")]
    Invalid {
        /// Kind, namespace and name.
        object: String,
        /// The problem and what to do.
        problem: String,
    },
    /// The informer of a kind has not synced yet.
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
    /// The reconcile panicked.
    #[error(transparent)]
    Defect(#[from] Panicked),
}

impl Failure {
    /// Wraps an error of the API server: `map_err(Failure::api("patch", &machine))`.
    pub(crate) fn api<K: Resource<DynamicType = ()>>(
        act: &'static str,
        object: &K,
    ) -> impl FnOnce(kube::Error) -> Self {
        let object = describe(object);
        move |source| Self::Api { act, object, source: Box::new(source) }
    }

    /// Wraps an error of the API server about an object that is known only by name.
    pub(crate) fn api_named(
        act: &'static str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> impl FnOnce(kube::Error) -> Self + use<> {
        let object = format!("{kind} {namespace}/{name}");
        move |source| Self::Api { act, object, source: Box::new(source) }
    }
}

impl crate::drive::Retry for Failure {
    fn is_conflict(&self) -> bool {
        match self {
            Self::Api { source, .. } => is_conflict(source),
            Self::Contract { source, .. } => source.is_conflict(),
            Self::Workload { source: workload::Error::Request { source, .. }, .. } => {
                is_conflict(source)
            }
            Self::Workload { .. } | Self::Invalid { .. } | Self::NotSynced(_) | Self::Defect(_) => {
                false
            }
        }
    }

    fn over_quota(&self) -> Option<String> {
        let source: &kube::Error = match self {
            Self::Api { source, .. } => source,
            Self::Contract { source: contract::Error::Request { source, .. }, .. } => source,
            Self::Contract { .. }
            | Self::Workload { .. }
            | Self::Invalid { .. }
            | Self::NotSynced(_)
            | Self::Defect(_) => return None,
        };
        let kube::Error::Api(status) = source else { return None };
        let said = status.message.split_once(QUOTA).filter(|_| status.code == 403)?.1;
        Some(said.to_owned())
    }
}

/// Prefix of the API server's message about an exceeded quota.
const QUOTA: &str = "exceeded quota: ";

/// Formats kind, namespace and name of an object for messages.
pub(crate) fn describe<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    format!("{} {namespace}/{name}", K::kind(&()))
}

/// Returns whether the object changed since it was read (or, on create, already exists).
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Returns whether the object does not exist.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Formats an error with all its sources, for logs and conditions. At most 4 KiB.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    capn_controller::chain::text(error)
}
