//! From a KubeadmConfig to the bytes a machine boots with. Pure: no I/O, no clock, no randomness.
//!
//! * [`documents`]: kubeadm's own configuration, in the API version its release reads.
//! * [`cloud_config`]: the cloud-config around it.
//! * [`discovery`]: the kubeconfig file for discovery by file.

pub(crate) mod cloud_config;
pub(crate) mod discovery;
pub(crate) mod documents;
mod yaml;

#[cfg(test)]
mod tests;

/// Why something could not be rendered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A value could not be turned into JSON.
    #[error("render {document}")]
    Json {
        /// What was rendered.
        document: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// A value could not be turned into YAML.
    #[error("render {document}")]
    Yaml {
        /// What was rendered.
        document: &'static str,
        #[source]
        source: serde_saphyr::SerializeError,
    },
}
