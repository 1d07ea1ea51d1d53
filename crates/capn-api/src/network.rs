//! The network of a cluster's instances.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Selects the network of the first NIC of a cluster's instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceNetwork {
    /// `shared` (the default), `own` or `existing`.
    pub mode: NetworkMode,
    /// Name of the network. Required for `existing`. For `own`, the provider sets it, with the
    /// prefix `capn-`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64), regex(pattern = r"^([0-9A-Za-z][0-9A-Za-z._-]*)?$"))]
    pub name: String,
}

/// Which network the instances of a cluster use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The network of the profiles, which other clusters may use too.
    #[default]
    Shared,
    /// A bridge that is created for the cluster and deleted with it, so that instances of other
    /// clusters neither see nor answer its packets. Needs a server that is not clustered, and an
    /// identity that may create networks.
    Own,
    /// The named network, whatever the profiles say.
    Existing,
}

impl NetworkMode {
    /// Returns the value in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
            Self::Existing => "existing",
        }
    }
}

impl std::fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
