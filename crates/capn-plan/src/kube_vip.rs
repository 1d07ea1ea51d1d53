//! The static pod of kube-vip, which holds the endpoint's address on one control plane at a time.

use capn_api::{KubeVipLoadBalancer, LXCClusterSpec, LoadBalancerKind};

use crate::versions::{self, Version};

/// Image of kube-vip where the cluster names none.
pub const IMAGE: &str = "ghcr.io/kube-vip/kube-vip:v0.6.4";
/// Where kubelet looks for the manifest where the cluster names no place.
pub const MANIFEST_PATH: &str = "/etc/kubernetes/manifests/kube-vip.yaml";
/// Kubeconfig of a control plane that joined, or that made the cluster with an old kubeadm.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// What the static pod depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// The user's wishes.
    pub spec: &'a KubeVipLoadBalancer,
    /// The address to hold: the endpoint's host.
    pub address: &'a str,
    /// Port of the API server.
    pub port: u16,
    /// Whether the cluster has a control plane already, so that this one joins it.
    pub initialized: bool,
    /// Kubernetes version of the machine, `v1.36.0`, if it is known.
    pub version: Option<&'a str>,
}

impl<'a> Manifest<'a> {
    /// The manifest for a control plane of a cluster; `None` when kube-vip is not its load
    /// balancer, or the endpoint is not known.
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

    /// Where the file belongs in the instance.
    pub fn path(&self) -> &'a str {
        match self.spec.manifest_path.as_str() {
            "" => MANIFEST_PATH,
            path => path,
        }
    }

    /// The file on the node that kube-vip uses as its kubeconfig.
    ///
    /// While kubeadm makes the first control plane nobody has given `admin.conf` its rights yet,
    /// and kube-vip has to hold the address before somebody can: with kubeadm 1.29 and later it
    /// takes `super-admin.conf`.
    pub fn kubeconfig(&self) -> &'a str {
        // Without a version the node is as new as what is released now.
        let newest = Version::new(u32::MAX, 0, 0);
        let version = self.version.and_then(|version| version.parse().ok()).unwrap_or(newest);
        match self.spec.kubeconfig_path.as_str() {
            "" if self.initialized => ADMIN,
            "" => versions::first_kube_vip_kubeconfig(version).unwrap_or(ADMIN),
            path => path,
        }
    }

    /// The manifest. The same input gives the same bytes.
    ///
    /// The address is announced by ARP (NDP for IPv6) from the control plane that holds the lease
    /// `plndr-cp-lock`. Services of type LoadBalancer are kept as well, as with the Go provider.
    pub fn render(&self) -> String {
        let image = match self.spec.image.as_str() {
            "" => IMAGE,
            image => image,
        };
        let prefix = if self.address.contains(':') { "128" } else { "32" };
        let mut env = vec![
            ("vip_arp", "true".to_owned()),
            ("port", self.port.to_string()),
            // kube-vip 1.2.2 asks the server of its kubeconfig otherwise, which is the address
            // that it has not taken yet. Older ones do this by themselves.
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
                // kube-vip asks `kubernetes`, the name in the certificate, on its own node.
                "hostAliases": [{ "hostnames": ["kubernetes"], "ip": "127.0.0.1" }],
                "hostNetwork": true,
                "volumes": [{
                    "hostPath": { "path": self.kubeconfig() }, "name": "kubeconfig",
                }],
            },
        });
        // JSON is YAML; kubelet reads both.
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
    fn the_users_wishes_are_obeyed_and_ipv6_has_its_own_prefix() {
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
    fn other_load_balancers_have_no_such_pod() {
        let other: LXCClusterSpec = serde_json::from_value(json!({
            "controlPlaneEndpoint": { "host": "10.0.0.100" }, "loadBalancer": { "external": {} },
        }))
        .unwrap();
        assert_eq!(Manifest::of(&other, false, None), None);
        assert_eq!(Manifest::of(&cluster(json!({}), ""), false, None), None);
    }
}
