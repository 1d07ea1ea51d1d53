//! Small types shared by several kinds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Endpoint of the Kubernetes API server of a cluster.
///
/// An empty host or port 0 mean "not set": Cluster API before v1beta2 wrote such zero values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiEndpoint {
    /// Host name or IP address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub host: String,
    /// TCP port.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: i32,
}

impl ApiEndpoint {
    /// Returns whether both host and port are set.
    pub fn is_set(&self) -> bool {
        !self.host.is_empty() && self.port != 0
    }
}

/// A reference to a Secret in the namespace of the object that holds the reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret. Its keys are `server`, `server-crt`, `client-crt`, `client-key`,
    /// `project` and `insecure-skip-verify`.
    pub name: String,
}

impl SecretRef {
    /// Returns whether no Secret is set.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty()
    }
}

/// Image of an instance. If all fields are empty, the default for the role of the instance is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSource {
    /// Alias on the Incus server, or on `server` if that is set. The forms `ubuntu:24.04`,
    /// `debian:13`, `images:alias`, `capi:alias` and `kind:v1.33.0` refer to well-known image
    /// servers. `VERSION` inside the name is replaced by the Kubernetes version of the Machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512), regex(pattern = r"^\S*$"))]
    pub name: String,
    /// Fingerprint of the image. Takes precedence over the name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{0,64}$"))]
    pub fingerprint: String,
    /// URL of the image server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048), regex(pattern = r"^(https?://\S+)?$"))]
    pub server: String,
    /// Protocol of the image server: `simplestreams`, `incus`, `lxd` or `oci`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["", "simplestreams", "incus", "lxd", "oci"]))]
    pub protocol: String,
}

impl ImageSource {
    /// Returns whether no field is set, so that the default image is used.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty()
            && self.fingerprint.is_empty()
            && self.server.is_empty()
            && self.protocol.is_empty()
    }

    /// Creates the source for a local alias.
    pub fn alias(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Kind of instance of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InstanceType {
    /// Not set, which means a container.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// A system container.
    #[serde(rename = "container")]
    Container,
    /// A virtual machine.
    #[serde(rename = "virtual-machine")]
    VirtualMachine,
    /// An application container that uses a kind node image.
    #[serde(rename = "kind")]
    Kind,
}

impl InstanceType {
    /// Returns whether the field is not set.
    pub fn is_unset(&self) -> bool {
        *self == Self::Unset
    }

    /// Returns whether it is a system container, which is also the default.
    pub fn is_container(self) -> bool {
        matches!(self, Self::Unset | Self::Container)
    }

    /// Returns the value in the manifest, `container` if it is not set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset | Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
            Self::Kind => "kind",
        }
    }
}

/// How the nodes of a cluster are isolated from the host and from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Unprivileged. Root in every node is the same unprivileged user of the host.
    Shared,
    /// Unprivileged. Every node has host user IDs that no other instance has.
    Isolated,
    /// Root in a node is root of the host.
    Privileged,
}

impl Isolation {
    /// Returns whether root in a node is an unprivileged user of the host.
    pub fn is_unprivileged(self) -> bool {
        self != Self::Privileged
    }

    /// Returns the value in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Isolated => "isolated",
            Self::Privileged => "privileged",
        }
    }
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One address of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineAddress {
    /// Type of the address.
    #[serde(rename = "type")]
    pub kind: MachineAddressType,
    /// The host name or IP address.
    #[schemars(length(min = 1, max = 256))]
    pub address: String,
}

/// Address types of Cluster API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachineAddressType {
    /// A host name.
    Hostname,
    /// An IP address outside the cluster.
    #[serde(rename = "ExternalIP")]
    ExternalIp,
    /// An IP address inside the cluster.
    #[serde(rename = "InternalIP")]
    InternalIp,
    /// A DNS name outside the cluster.
    #[serde(rename = "ExternalDNS")]
    ExternalDns,
    /// A DNS name inside the cluster.
    #[serde(rename = "InternalDNS")]
    InternalDns,
}

fn is_zero(port: &i32) -> bool {
    *port == 0
}

pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LXCClusterSpec, LXCMachineSpec, LoadBalancerKind};
    use serde_json::json;

    #[test]
    fn zero_values_of_the_go_provider_mean_not_set() {
        let machine: LXCMachineSpec = serde_json::from_value(json!({
            "instanceType": "",
            "image": { "name": "", "fingerprint": "" },
            "target": "",
        }))
        .unwrap();
        assert_eq!(machine, LXCMachineSpec::default());
        assert_eq!(serde_json::to_value(&machine).unwrap(), json!({}));

        let cluster: LXCClusterSpec = serde_json::from_value(json!({
            "controlPlaneEndpoint": { "host": "", "port": 0 },
            "secretRef": { "name": "" },
            "loadBalancer": { "lxc": {} },
            "unprivileged": false,
            "skipDefaultKubeadmProfile": false,
        }))
        .unwrap();
        assert_eq!((cluster.endpoint_host(), cluster.endpoint_port()), (None, 6443));
        assert_eq!(cluster.effective_isolation(), Isolation::Privileged);
        assert!(matches!(cluster.load_balancer.kind(), Some(LoadBalancerKind::Lxc(_))));
    }

    #[test]
    fn isolation_follows_from_unprivileged_when_left_out() {
        for (isolation, unprivileged, holds) in [
            (None, None, Isolation::Privileged),
            (None, Some(true), Isolation::Shared),
            (Some(Isolation::Isolated), None, Isolation::Isolated),
            (Some(Isolation::Isolated), Some(true), Isolation::Isolated),
        ] {
            let spec = LXCClusterSpec { isolation, unprivileged, ..Default::default() };
            assert_eq!(spec.effective_isolation(), holds);
        }
    }

    #[test]
    fn two_load_balancers_are_invalid() {
        let both: crate::LoadBalancer =
            serde_json::from_value(json!({ "lxc": {}, "external": {} })).unwrap();
        assert_eq!(both.kind(), None);
    }
}
