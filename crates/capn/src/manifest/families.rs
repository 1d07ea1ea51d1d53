//! Node configuration for the address families of a cluster.

use capn_plan::families::{self, Family};
use serde_json::{Value, json};

use super::request::ClusterRequest;

/// Script that finds the node's addresses. It is not in the node image, so that it works on stock
/// systems too.
const SCRIPT: &str = include_str!("kubelet-node-ip");
const SCRIPT_PATH: &str = "/usr/local/lib/capn/kubelet-node-ip";
/// Sorted after kubeadm's drop-in.
const DROP_IN_PATH: &str = "/etc/systemd/system/kubelet.service.d/20-capn-node-ip.conf";

/// Makes systemd read the drop-in before kubeadm starts kubelet.
pub(super) const COMMAND: &str = "systemctl daemon-reload";

/// Returns whether nodes need this configuration: kubelet and kubeadm find a single IPv4 address on
/// their own.
pub(super) fn is_needed(request: &ClusterRequest) -> bool {
    families::of(&request.pod_cidrs()) != [Family::V4]
}

/// Files of a node; none if [`is_needed`] returns false.
pub(super) fn files(request: &ClusterRequest) -> Vec<Value> {
    if !is_needed(request) {
        return Vec::new();
    }
    // The first node address is the one the API server uses: that of the Services' family.
    let mut order = families::of(&request.service_cidrs());
    order.extend(families::of(&request.pod_cidrs()));
    let mut numbers: Vec<&str> = Vec::new();
    for family in order {
        let number = if family == Family::V4 { "4" } else { "6" };
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    let drop_in = format!(
        "[Service]\nExecStartPre={SCRIPT_PATH} {}\nEnvironmentFile=-/run/capn/kubelet-node-ip.env\n",
        numbers.join(" ")
    );
    let file = |path: &str, permissions: &str, content: String| {
        json!({
            "path": path, "owner": "root:root", "permissions": permissions, "content": content,
        })
    };
    vec![file(SCRIPT_PATH, "0755", SCRIPT.to_owned()), file(DROP_IN_PATH, "0644", drop_in)]
}

/// Returns the advertise address of a control plane's API server, if kubeadm's default (the first
/// IPv4 address) is not in the Services' family.
pub(super) fn endpoint(request: &ClusterRequest) -> Option<Value> {
    // kubeadm uses it as \"the node's address of this family\".
    (families::of(&request.service_cidrs()).first() == Some(&Family::V6))
        .then(|| json!({ "advertiseAddress": "::", "bindPort": 6443 }))
}

#[cfg(test)]
mod tests {
    use super::super::request::testing::demo;
    use super::*;

    #[test]
    fn node_ips_are_set_unless_the_cluster_is_ipv4_only() {
        let request = |pods: &str, services: &str| ClusterRequest {
            pod_cidr: pods.into(),
            service_cidr: services.into(),
            ..demo()
        };
        let table = [
            ("10.0.0.0/16", "10.96.0.0/12", None, false),
            ("10.0.0.0/16,fd00::/56", "10.96.0.0/12", Some("4 6"), false),
            ("10.0.0.0/16,fd00::/56", "fd01::/112,10.96.0.0/12", Some("6 4"), true),
            ("fd00::/56", "fd01::/112", Some("6"), true),
        ];
        for (pods, services, order, announced) in table {
            let request = request(pods, services);
            let files = files(&request);
            let found = files.get(1).and_then(|file| file["content"].as_str());
            match (order, found) {
                (None, None) => {}
                (Some(order), Some(text)) => {
                    assert!(text.contains(&format!("node-ip {order}\n")), "{text}");
                }
                other => panic!("{pods}: {other:?}"),
            }
            assert_eq!(endpoint(&request).is_some(), announced, "{services}");
        }
    }
}
