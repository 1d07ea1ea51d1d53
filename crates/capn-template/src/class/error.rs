//! What can be wrong with a class or the topology of a Cluster.

use thiserror::Error;

/// A class that cannot be read, or a topology that does not fit it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClassError {
    /// The manifests of a class.
    #[error("the manifests are not those of one ClusterClass: {0}")]
    Manifests(String),
    /// The class or the topology names what is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// A variable of the topology.
    #[error("variable {name}: {problem}")]
    Variable {
        /// Name of the variable, with the path in it.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A patch of the class.
    #[error("patch {patch}: {problem}")]
    Patch {
        /// Name of the patch.
        patch: String,
        /// What is wrong.
        problem: String,
    },
}
