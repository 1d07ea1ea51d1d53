//! The network that the instances of a cluster are on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which network the first network card of each instance of a cluster is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceNetwork {
    /// `shared` (also when `network` is left out), `own` or `existing`.
    pub mode: NetworkMode,
    /// Name of the network. For `existing` it has to be given. For `own` the provider fills it in,
    /// and it begins with `capn-`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64), regex(pattern = r"^([0-9A-Za-z][0-9A-Za-z._-]*)?$"))]
    pub name: String,
}

/// Whose network the instances of a cluster are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The network of the profiles, which instances of other clusters may be on.
    #[default]
    Shared,
    /// A bridge that is made for the cluster and deleted with it: no instance of another cluster
    /// hears or answers its packets. Needs a server that is not clustered, and an identity that may
    /// create networks.
    Own,
    /// The network named, whatever the profiles say.
    Existing,
}

impl NetworkMode {
    /// The word users write.
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
