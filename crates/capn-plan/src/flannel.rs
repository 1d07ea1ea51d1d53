//! flannel with vxlan, as objects of the workload cluster: kube-flannel's own manifest without the
//! parts that copy files to nodes. [`crate::cni::files`] renders the runtime configuration, and the
//! standard `bridge` plugin replaces flannel's own plugin.

use serde_json::{Value, json};

use crate::families::{self, Family};

/// Namespace of the daemon, as upstream has it.
pub const NAMESPACE: &str = "kube-flannel";
/// Image of the daemon. Node images that are built with `flanneld` contain an image with this name;
/// other nodes pull it.
pub const IMAGE: &str = "ghcr.io/flannel-io/flannel:v0.28.4";
/// Path of the program in [`IMAGE`].
pub const PROGRAM: &str = "/opt/bin/flanneld";
/// Overhead of vxlan per packet, in bytes: Ethernet, IP, UDP and vxlan headers. The IPv6 header is
/// longer.
const OVERHEAD_V4: u32 = 50;
const OVERHEAD_V6: u32 = 70;

/// Returns the MTU of a pod, in bytes, if the NIC of the node has the MTU `card_mtu` and pods have
/// addresses of `families`.
pub fn mtu(card_mtu: u32, families: &[Family]) -> u32 {
    let overhead = if families.contains(&Family::V6) { OVERHEAD_V6 } else { OVERHEAD_V4 };
    card_mtu.saturating_sub(overhead)
}

/// Returns the objects for these pod CIDRs, in the order in which they are applied.
pub fn objects(pod_cidrs: &[String]) -> Vec<Value> {
    let labels = json!({ "k8s-app": "flannel" });
    let meta = |name: &str| json!({ "name": name, "labels": labels });
    let within = |name: &str| json!({ "name": name, "namespace": NAMESPACE, "labels": labels });
    let rbac = "rbac.authorization.k8s.io";
    vec![
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": NAMESPACE, "labels": {
                "k8s-app": "flannel", "pod-security.kubernetes.io/enforce": "privileged",
            } },
        }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": within("flannel") }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
            "metadata": meta("flannel"),
            "rules": [
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] },
                { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"] },
                { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": meta("flannel"),
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": "flannel" },
            "subjects": [
                { "kind": "ServiceAccount", "name": "flannel", "namespace": NAMESPACE },
            ],
        }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": within("kube-flannel-cfg"),
            "data": { "net-conf.json": format!("{:#}\n", net_conf(pod_cidrs)) },
        }),
        daemon(&labels, within("kube-flannel-ds")),
    ]
}

fn daemon(labels: &Value, metadata: Value) -> Value {
    let from_field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path });
    let host = |name: &str, path: &str, kind: &str| json!({ "name": name, "hostPath": { "path": path, "type": kind } });
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata,
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    "serviceAccountName": "flannel",
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                    "tolerations": [{ "operator": "Exists" }],
                    "containers": [{
                        "name": "kube-flannel",
                        "image": IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "command": [PROGRAM],
                        "args": ["--ip-masq", "--kube-subnet-mgr"],
                        "env": [
                            from_field("POD_NAME", "metadata.name"),
                            from_field("POD_NAMESPACE", "metadata.namespace"),
                        ],
                        "resources": { "requests": { "cpu": "100m", "memory": "50Mi" } },
                        "securityContext": {
                            "privileged": false,
                            "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] },
                        },
                        "volumeMounts": [
                            mount("run", "/run/flannel"),
                            mount("config", "/etc/kube-flannel"),
                            mount("xtables-lock", "/run/xtables.lock"),
                        ],
                    }],
                    "volumes": [
                        host("run", "/run/flannel", "DirectoryOrCreate"),
                        host("xtables-lock", "/run/xtables.lock", "FileOrCreate"),
                        { "name": "config", "configMap": { "name": "kube-flannel-cfg" } },
                    ],
                },
            },
        },
    })
}

/// Renders flannel's own configuration: the first CIDR of each family.
fn net_conf(pod_cidrs: &[String]) -> Value {
    let first = |family| pod_cidrs.iter().find(|cidr| Family::of_cidr(cidr) == family);
    let mut conf = json!({ "Backend": { "Type": "vxlan" } });
    match first(Family::V4) {
        Some(cidr) => conf["Network"] = json!(cidr),
        None => conf["EnableIPv4"] = json!(false),
    }
    if let Some(cidr) = first(Family::V6) {
        conf["EnableIPv6"] = json!(true);
        conf["IPv6Network"] = json!(cidr);
    }
    conf
}

/// Returns the IP families of the pods.
pub fn families(pod_cidrs: &[String]) -> Vec<Family> {
    families::of(pod_cidrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_the_first_of_each_family() {
        let conf = |cidrs: &[&str]| {
            net_conf(&cidrs.iter().map(|cidr| (*cidr).to_owned()).collect::<Vec<_>>())
        };
        let vxlan = json!({ "Type": "vxlan" });
        assert_eq!(conf(&["10.7.0.0/16"]), json!({ "Network": "10.7.0.0/16", "Backend": vxlan }));
        assert_eq!(
            conf(&["fd00:7::/56", "10.7.0.0/16"]),
            json!({ "Network": "10.7.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:7::/56", "Backend": vxlan })
        );
        assert_eq!(
            conf(&["fd00:7::/56"]),
            json!({ "EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd00:7::/56", "Backend": vxlan })
        );
    }

    #[test]
    fn the_pod_mtu_fits_into_that_of_the_nic() {
        for (card, families, mtu) in [
            (1500, &[Family::V4][..], 1450),
            (1500, &[Family::V4, Family::V6], 1430),
            (9000, &[Family::V4], 8950),
        ] {
            assert_eq!(super::mtu(card, families), mtu);
        }
    }

    #[test]
    fn tests_build_the_version_of_the_image() {
        let module = include_str!("../../../tests/kubernetes/flannel/go.mod");
        let (_, version) = IMAGE.split_once(':').unwrap();
        let required = format!("github.com/flannel-io/flannel {version}");
        assert!(module.lines().any(|line| line.trim() == required), "no {required}");
    }

    #[test]
    fn the_daemon_runs_on_every_node_without_privilege() {
        let objects = objects(&["10.244.0.0/16".to_owned()]);
        let kinds: Vec<_> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds[0], "Namespace", "it has to be there before what is in it");
        let pod = &objects[5]["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["securityContext"]["privileged"], false);
        assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    }
}
