//! The load balancer in front of a cluster's API servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ImageSource;

/// Load balancer of a cluster. Exactly one field is set; [`LoadBalancer::kind`] returns which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct LoadBalancer {
    /// A container with haproxy, managed by the provider. It is a single point of failure in front
    /// of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lxc: Option<InstanceLoadBalancer>,
    /// An application container with haproxy from an OCI image. Needs the server extensions
    /// `instance_oci` and `instance_oci_entrypoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<InstanceLoadBalancer>,
    /// A load balancer of an OVN network that listens on `spec.controlPlaneEndpoint.host`. Needs
    /// the server extensions `network_load_balancer` and `network_load_balancer_health_check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovn: Option<OvnLoadBalancer>,
    /// A virtual IP (`spec.controlPlaneEndpoint.host`) held by the control plane nodes with
    /// kube-vip.
    #[serde(default, rename = "kubeVIP", skip_serializing_if = "Option::is_none")]
    pub kube_vip: Option<KubeVipLoadBalancer>,
    /// Nothing is created: `spec.controlPlaneEndpoint` is the address of an externally managed load
    /// balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalLoadBalancer>,
}

/// The configured kind of load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancerKind<'a> {
    /// See [`LoadBalancer::lxc`].
    Lxc(&'a InstanceLoadBalancer),
    /// See [`LoadBalancer::oci`].
    Oci(&'a InstanceLoadBalancer),
    /// See [`LoadBalancer::ovn`].
    Ovn(&'a OvnLoadBalancer),
    /// See [`LoadBalancer::kube_vip`].
    KubeVip(&'a KubeVipLoadBalancer),
    /// See [`LoadBalancer::external`].
    External,
}

impl LoadBalancerKind<'_> {
    /// Returns the field name under `spec.loadBalancer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxc(_) => "lxc",
            Self::Oci(_) => "oci",
            Self::Ovn(_) => "ovn",
            Self::KubeVip(_) => "kubeVIP",
            Self::External => "external",
        }
    }
}

impl LoadBalancer {
    /// Returns a haproxy container with all defaults.
    pub fn default_lxc() -> Self {
        Self { lxc: Some(InstanceLoadBalancer::default()), ..Self::default() }
    }

    /// Returns an externally managed load balancer.
    pub fn default_external() -> Self {
        Self { external: Some(ExternalLoadBalancer {}), ..Self::default() }
    }

    /// Returns the field that is set. `None` if none or several are set, which the schema rejects.
    pub fn kind(&self) -> Option<LoadBalancerKind<'_>> {
        let Self { lxc, oci, ovn, kube_vip, external } = self;
        let mut set = [
            lxc.as_ref().map(LoadBalancerKind::Lxc),
            oci.as_ref().map(LoadBalancerKind::Oci),
            ovn.as_ref().map(LoadBalancerKind::Ovn),
            kube_vip.as_ref().map(LoadBalancerKind::KubeVip),
            external.as_ref().map(|_| LoadBalancerKind::External),
        ]
        .into_iter()
        .flatten();
        let first = set.next();
        if set.next().is_some() { None } else { first }
    }
}

/// A load balancer that is an instance with haproxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceLoadBalancer {
    /// Settings of the instance.
    #[serde(default, skip_serializing_if = "LoadBalancerInstanceSpec::is_empty")]
    pub instance_spec: LoadBalancerInstanceSpec,
    /// Addresses that the load balancer may use if the endpoint sets none, as
    /// `10.0.0.100-10.0.0.110`, `10.0.0.96/28` or a single address. A free address of each given
    /// family is used; the first list entry determines the endpoint. The addresses must be on the
    /// network but outside of its DHCP ranges. Not in the Go provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ranges: Vec<String>,
    /// A Go template that replaces the built-in haproxy configuration.
    #[serde(
        default,
        rename = "customHAProxyConfigTemplate",
        skip_serializing_if = "String::is_empty"
    )]
    pub custom_haproxy_config_template: String,
    /// Let a control plane receive connections while its port is open, instead of while `/healthz`
    /// succeeds. For API servers with `--anonymous-auth=false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disable_healthz_check: bool,
}

/// The instance of an `lxc` or `oci` load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerInstanceSpec {
    /// Size, for example `c1-m1` or `t3.micro`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub flavor: String,
    /// Profiles of the server, in order. Default: the server's `default` profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Image. Default: the haproxy image for the kind of load balancer.
    #[serde(default, skip_serializing_if = "ImageSource::is_empty")]
    pub image: ImageSource,
    /// Cluster member (`name`) or group (`@name`). Ignored by a server that is not clustered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Storage pool of the root disk (device `root`). Default: that of the profiles. Not in the Go
    /// provider.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub storage_pool: String,
}

impl LoadBalancerInstanceSpec {
    /// Returns whether no field is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A load balancer of an OVN network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OvnLoadBalancer {
    /// Name of the OVN network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network_name: String,
    /// Addresses that the load balancer may use if the endpoint sets none, as
    /// `10.0.0.100-10.0.0.110`, `10.0.0.96/28` or a single address. The first free one is used.
    /// They must belong to the uplink of the network. Not in the Go provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ranges: Vec<String>,
}

/// A virtual IP managed by kube-vip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeVipLoadBalancer {
    /// Container image of kube-vip.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Network interface in the node. Default: chosen by kube-vip.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Path of kube-vip's kubeconfig on the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kubeconfig_path: String,
    /// Path of the static pod manifest on the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manifest_path: String,
}

/// An externally managed load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalLoadBalancer {}
