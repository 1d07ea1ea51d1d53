//! Errors of a class or of the topology of a Cluster.

use thiserror::Error;

/// Error of a class, or of a topology that does not match it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClassError {
    /// The manifests are not those of one ClusterClass.
    #[error("the manifests are not those of one ClusterClass: {0}")]
    Manifests(String),
    /// The class or the topology refers to something that does not exist.
    #[error("{0} does not exist")]
    Missing(String),
    /// A variable of the topology is invalid.
    #[error("variable {name}: {problem}")]
    Variable {
        /// Name of the variable, with the path in it.
        name: String,
        /// Problem.
        problem: String,
    },
    /// A patch of the class is invalid.
    #[error("patch {patch}: {problem}")]
    Patch {
        /// Name of the patch.
        patch: String,
        /// Problem.
        problem: String,
    },
}
