//! Names that are derived from objects.

use crate::{LXCCluster, LXCMachine};

/// What every provider ID of ours begins with.
pub const PROVIDER_ID_PREFIX: &str = "lxc:///";

/// The provider ID of the node in an instance, byte for byte what kubelet is told.
pub fn provider_id(instance: &str) -> String {
    format!("{PROVIDER_ID_PREFIX}{instance}")
}

/// The name of the instance of a `lxc` or `oci` load balancer: the LXCCluster's name, five hex
/// digits of the SHA-256 of its namespace, and `lb`.
///
/// `namespace_sha256_hex` is passed in, so that this crate needs no hash function.
pub fn load_balancer_instance_name(cluster: &str, namespace_sha256_hex: &str) -> String {
    let digits = namespace_sha256_hex.get(..5).unwrap_or(namespace_sha256_hex);
    format!("{cluster}-{digits}-lb")
}

impl LXCMachine {
    /// The name of the machine's instance: the object's own name.
    pub fn instance_name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

impl LXCCluster {
    /// The object's own name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}
