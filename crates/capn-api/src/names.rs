//! Names derived from objects.

use crate::{LXCCluster, LXCMachine};

/// Prefix of capn's provider IDs.
pub const PROVIDER_ID_PREFIX: &str = "lxc:///";

/// Returns the provider ID of the node in an instance, exactly as it is passed to kubelet.
pub fn provider_id(instance: &str) -> String {
    format!("{PROVIDER_ID_PREFIX}{instance}")
}

/// Returns the instance name of an `lxc` or `oci` load balancer: the name of the LXCCluster, five
/// hex digits of the SHA-256 of its namespace, and `lb`.
///
/// `namespace_sha256_hex` is an argument so that this crate needs no hash function.
pub fn load_balancer_instance_name(cluster: &str, namespace_sha256_hex: &str) -> String {
    let digits = namespace_sha256_hex.get(..5).unwrap_or(namespace_sha256_hex);
    format!("{cluster}-{digits}-lb")
}

impl LXCMachine {
    /// Returns the name of the machine's instance, which is the name of the object.
    pub fn instance_name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

impl LXCCluster {
    /// Returns the name of the object.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}
