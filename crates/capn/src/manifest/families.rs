//! What a node needs to know of the families of addresses that its cluster uses.

use capn_plan::families::{self, Family};
use serde_json::{Value, json};

use super::request::ClusterRequest;

/// Finds the addresses of the node. Not in the node image, so that it is there on stock systems too.
const SCRIPT: &str = include_str!("kubelet-node-ip");
const SCRIPT_PATH: &str = "/usr/local/lib/capn/kubelet-node-ip";
/// After kubeadm's own drop-in.
const DROP_IN_PATH: &str = "/etc/systemd/system/kubelet.service.d/20-capn-node-ip.conf";

/// Makes systemd read the drop-in before kubeadm starts kubelet.
pub(super) const COMMAND: &str = "systemctl daemon-reload";

/// Whether nodes have to be told: kubelet and kubeadm find a single IPv4 address by themselves.
pub(super) fn is_needed(request: &ClusterRequest) -> bool {
    families::of(&request.pod_cidrs()) != [Family::V4]
}

/// The files of a node, none where [`is_needed`] says no.
pub(super) fn files(request: &ClusterRequest) -> Vec<Value> {
    if !is_needed(request) {
        return Vec::new();
    }
    // Of the node's addresses the first is its own for the API server: of the Services' family.
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

/// Where the API server of a control plane is announced, where kubeadm's own choice, the first
/// IPv4 address, is not of the Services' family.
pub(super) fn endpoint(request: &ClusterRequest) -> Option<Value> {
    // kubeadm takes it for \"the node's address of this family\".
    (families::of(&request.service_cidrs()).first() == Some(&Family::V6))
        .then(|| json!({ "advertiseAddress": "::", "bindPort": 6443 }))
}

#[cfg(test)]
mod tests {
    use super::super::request::testing::demo;
    use super::*;

    #[test]
    fn nodes_are_told_of_every_family_but_of_ipv4_alone() {
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
