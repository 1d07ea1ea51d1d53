//! The static pod of kube-vip, which holds the endpoint's address on one control plane at a time.

use capn_api::{KubeVipLoadBalancer, LXCClusterSpec, LoadBalancerKind};

use crate::versions::{self, Version};

/// Default image of kube-vip.
pub const IMAGE: &str = "ghcr.io/kube-vip/kube-vip:v0.6.4";
/// Default path of the manifest.
pub const MANIFEST_PATH: &str = "/etc/kubernetes/manifests/kube-vip.yaml";
/// Kubeconfig of a control plane that joins, or that creates the cluster with an old kubeadm.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// Input of the static pod manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// The spec of the load balancer.
    pub spec: &'a KubeVipLoadBalancer,
    /// The virtual IP: the host of the endpoint.
    pub address: &'a str,
    /// Port of the API server.
    pub port: u16,
    /// Whether the cluster already has a control plane, so that this one joins it.
    pub initialized: bool,
    /// Kubernetes version of the machine, for example `v1.36.0`, if known.
    pub version: Option<&'a str>,
}

impl<'a> Manifest<'a> {
    /// Returns the manifest for a control plane of a cluster. `None` if kube-vip is not its load
    /// balancer or the endpoint is unknown.
    pub fn of(
        cluster: &'a LXCClusterSpec,
        initialized: bool,
        version: Option<&'a str>,
    ) -> Option<Self> {
        let Some(LoadBalancerKind::KubeVip(spec)) = cluster.load_balancer.kind() else {
            return None;
        };
        let address = cluster.endpoint_host()?;
        Some(Self { spec, address, port: cluster.endpoint_port(), initialized, version })
    }

    /// Returns the path of the file in the instance.
    pub fn path(&self) -> &'a str {
        match self.spec.manifest_path.as_str() {
            "" => MANIFEST_PATH,
            path => path,
        }
    }

    /// Returns the path of the kubeconfig on the node that kube-vip uses.
    ///
    /// While kubeadm creates the first control plane, `admin.conf` has no permissions yet, and
    /// granting them requires the virtual IP. With kubeadm 1.29 and later, kube-vip therefore uses
    /// `super-admin.conf`.
    pub fn kubeconfig(&self) -> &'a str {
        // Without a version, the newest release is assumed.
        let newest = Version::new(u32::MAX, 0, 0);
        let version = self.version.and_then(|version| version.parse().ok()).unwrap_or(newest);
        match self.spec.kubeconfig_path.as_str() {
            "" if self.initialized => ADMIN,
            "" => versions::first_kube_vip_kubeconfig(version).unwrap_or(ADMIN),
            path => path,
        }
    }

    /// Renders the manifest. The same input yields the same bytes.
    ///
    /// The control plane that holds the lease `plndr-cp-lock` announces the address by ARP (NDP for
    /// IPv6). Services of type LoadBalancer are managed as well, as with the Go provider.
    pub fn render(&self) -> String {
        let image = match self.spec.image.as_str() {
            "" => IMAGE,
            image => image,
        };
        let prefix = if self.address.contains(':') { "128" } else { "32" };
        let mut env = vec![
            ("vip_arp", "true".to_owned()),
            ("port", self.port.to_string()),
            // kube-vip 1.2.2 otherwise connects to the server in its kubeconfig, which is the
            // address that it has not taken yet. Older releases handle this themselves.
            ("kubernetes_addr", format!("kubernetes:{}", self.port)),
            ("vip_cidr", prefix.to_owned()),
            ("cp_enable", "true".to_owned()),
            ("cp_namespace", "kube-system".to_owned()),
            ("vip_ddns", "false".to_owned()),
            ("svc_enable", "true".to_owned()),
            ("svc_leasename", "plndr-svcs-lock".to_owned()),
            ("svc_election", "true".to_owned()),
            ("vip_leaderelection", "true".to_owned()),
            ("vip_leasename", "plndr-cp-lock".to_owned()),
            ("vip_leaseduration", "15".to_owned()),
            ("vip_renewdeadline", "10".to_owned()),
            ("vip_retryperiod", "2".to_owned()),
            ("address", self.address.to_owned()),
            ("prometheus_server", ":2112".to_owned()),
        ];
        if !self.spec.interface.is_empty() {
            env.insert(3, ("vip_interface", self.spec.interface.clone()));
        }
        let env: Vec<_> = env
            .into_iter()
            .map(|(name, value)| serde_json::json!({ "name": name, "value": value }))
            .collect();
        let pod = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "kube-vip", "namespace": "kube-system" },
            "spec": {
                "containers": [{
                    "name": "kube-vip",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["manager"],
                    "env": env,
                    "resources": {},
                    "securityContext": { "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } },
                    "volumeMounts": [{
                        "mountPath": ADMIN, "name": "kubeconfig",
                    }],
                }],
                // kube-vip connects to `kubernetes`, the name in the certificate, on its own node.
                "hostAliases": [{ "hostnames": ["kubernetes"], "ip": "127.0.0.1" }],
                "hostNetwork": true,
                "volumes": [{
                    "hostPath": { "path": self.kubeconfig() }, "name": "kubeconfig",
                }],
            },
        });
        // JSON is valid YAML, so kubelet reads both.
        let mut text = format!("{pod:#}");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(kube_vip: Value, host: &str) -> LXCClusterSpec {
        serde_json::from_value(json!({
            "controlPlaneEndpoint": { "host": host, "port": 7443 },
            "loadBalancer": { "kubeVIP": kube_vip },
        }))
        .unwrap()
    }

    fn pod(manifest: &Manifest<'_>) -> Value {
        serde_json::from_str(&manifest.render()).unwrap()
    }

    fn env<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
        let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
        env.iter().find(|entry| entry["name"] == name)?["value"].as_str()
    }

    #[test]
    fn the_pod_holds_the_endpoint() {
        let spec = cluster(json!({}), "10.0.0.100");
        let manifest = Manifest::of(&spec, false, Some("v1.36.2")).unwrap();
        assert_eq!(manifest.path(), "/etc/kubernetes/manifests/kube-vip.yaml");
        let pod = pod(&manifest);
        assert_eq!(pod["spec"]["containers"][0]["image"], IMAGE);
        assert_eq!(pod["spec"]["hostNetwork"], true);
        for (name, value) in [
            ("address", Some("10.0.0.100")),
            ("port", Some("7443")),
            ("kubernetes_addr", Some("kubernetes:7443")),
            ("vip_cidr", Some("32")),
            ("vip_arp", Some("true")),
            ("cp_enable", Some("true")),
            ("vip_interface", None),
        ] {
            assert_eq!(env(&pod, name), value, "{name}");
        }
    }

    #[test]
    fn the_spec_is_respected_and_ipv6_has_its_own_prefix() {
        let spec = cluster(
            json!({
                "image": "registry/kube-vip:v1", "interface": "eth1",
                "kubeconfigPath": "/root/k", "manifestPath": "/opt/vip.yaml",
            }),
            "fd42::100",
        );
        let manifest = Manifest::of(&spec, true, None).unwrap();
        assert_eq!(manifest.path(), "/opt/vip.yaml");
        let pod = pod(&manifest);
        assert_eq!(pod["spec"]["containers"][0]["image"], "registry/kube-vip:v1");
        assert_eq!(pod["spec"]["volumes"][0]["hostPath"]["path"], "/root/k");
        assert_eq!(env(&pod, "vip_interface"), Some("eth1"));
        assert_eq!(env(&pod, "vip_cidr"), Some("128"));
    }

    #[test]
    fn the_kubeconfig_is_one_that_works_at_that_time() {
        let spec = cluster(json!({}), "10.0.0.100");
        for (initialized, version, path) in [
            (false, Some("v1.36.2"), "/etc/kubernetes/super-admin.conf"),
            (false, Some("v1.29.0"), "/etc/kubernetes/super-admin.conf"),
            (false, Some("v1.28.9"), "/etc/kubernetes/admin.conf"),
            (false, None, "/etc/kubernetes/super-admin.conf"),
            (true, Some("v1.36.2"), "/etc/kubernetes/admin.conf"),
        ] {
            let manifest = Manifest::of(&spec, initialized, version).unwrap();
            assert_eq!(manifest.kubeconfig(), path, "{initialized} {version:?}");
        }
    }

    #[test]
    fn other_load_balancers_have_no_kube_vip_pod() {
        let other: LXCClusterSpec = serde_json::from_value(json!({
            "controlPlaneEndpoint": { "host": "10.0.0.100" }, "loadBalancer": { "external": {} },
        }))
        .unwrap();
        assert_eq!(Manifest::of(&other, false, None), None);
        assert_eq!(Manifest::of(&cluster(json!({}), ""), false, None), None);
    }
}
