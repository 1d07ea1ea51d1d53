//! Renders the bootstrap data of a KubeadmConfig. Pure: no I/O, no clock, no randomness.
//!
//! * [`documents`]: kubeadm's own configuration, in the API version its release reads.
//! * [`cloud_config`]: the cloud-config around it.
//! * [`ignition`]: the Ignition configuration around it, for machines that boot with Ignition.
//! * [`discovery`]: the kubeconfig file for discovery by file.

pub(crate) mod cloud_config;
pub(crate) mod discovery;
pub(crate) mod documents;
pub(crate) mod ignition;
mod yaml;

#[cfg(test)]
mod tests;

/// Render errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A value could not be serialized to JSON.
    #[error("render {document}")]
    Json {
        /// The document.
        document: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// A value could not be serialized to YAML.
    #[error("render {document}")]
    Yaml {
        /// The document.
        document: &'static str,
        #[source]
        source: serde_saphyr::SerializeError,
    },
    /// A field is not supported by Ignition, or a configuration is not valid.
    #[error("{field}: {problem}")]
    Ignition {
        /// The field.
        field: String,
        /// The problem.
        problem: String,
    },
}
