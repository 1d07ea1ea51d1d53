//! The pod network of a node: the standard bridge plugins, and routes to the pods of the other
//! nodes. Pure text; see the provider for how it gets into the instance.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::json;
use sha2::{Digest, Sha256};

/// Where the container runtime finds the network.
pub const CONFLIST_PATH: &str = "/etc/cni/net.d/10-capn.conflist";
/// Where the node's `capn-pod-network.service` finds routes and masquerading.
pub const POD_NETWORK_PATH: &str = "/etc/capn/pod-network.env";

/// One node, as far as its pod network goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Name of the node, which is its instance's.
    pub name: String,
    /// Its address for the other nodes.
    pub address: IpAddr,
    /// The subnet of its pods (`10.244.1.0/24`).
    pub pod_cidr: String,
}

/// The two files of one node, and a mark that changes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// For [`CONFLIST_PATH`].
    pub conflist: String,
    /// For [`POD_NETWORK_PATH`]: `KEY="value value"` lines. Traffic from `CLUSTER_CIDRS` to
    /// elsewhere is masqueraded; each of `PEERS` is another node's pod subnet and the address to
    /// route it to.
    pub pod_network: String,
    /// 16 hex digits of the SHA-256 of all of them.
    pub hash: String,
}

/// The files of `node` in a cluster of `nodes` (which may include it) with the pod subnets
/// `cluster_cidrs`.
///
/// Nodes of another address family than `node` are left out: no route can lead to them.
pub fn files(node: &Node, nodes: &[Node], cluster_cidrs: &[String]) -> Files {
    let conflist = pretty(&json!({
        "cniVersion": "1.0.0",
        "name": "capn",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                // Masquerading is for traffic that leaves the cluster, which the plugin cannot
                // tell; the node's own service does it.
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": node.pod_cidr }]],
                    "routes": [{ "dst": if node.pod_cidr.contains(':') { "::/0" } else { "0.0.0.0/0" } }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    }));
    let peers: BTreeMap<_, _> = nodes
        .iter()
        .filter(|peer| peer.name != node.name)
        .filter(|peer| peer.address.is_ipv4() == node.address.is_ipv4())
        .map(|peer| (peer.pod_cidr.clone(), peer.address))
        .collect();
    let routes: Vec<_> = peers.iter().map(|(cidr, via)| format!("{cidr}={via}")).collect();
    let pod_network = format!(
        "CLUSTER_CIDRS=\"{}\"\nPOD_CIDR=\"{}\"\nPEERS=\"{}\"\n",
        cluster_cidrs.join(" "),
        node.pod_cidr,
        routes.join(" "),
    );
    let mut hasher = Sha256::new();
    for text in [&conflist, &pod_network] {
        hasher.update(text.as_bytes());
        hasher.update([0]);
    }
    let mut hash = hex::encode(hasher.finalize());
    hash.truncate(16);
    Files { conflist, pod_network, hash }
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str, pod_cidr: &str) -> Node {
        Node { name: name.into(), address: address.parse().unwrap(), pod_cidr: pod_cidr.into() }
    }

    #[test]
    fn a_node_routes_to_its_peers_and_not_to_itself() {
        let nodes = [
            node("a", "10.0.0.7", "10.244.0.0/24"),
            node("b", "10.0.0.8", "10.244.1.0/24"),
            node("c", "2001:db8::9", "fd00:1::/64"),
        ];
        let files = files(&nodes[0], &nodes, &["10.244.0.0/16".into()]);
        insta::assert_snapshot!(files.pod_network, @r#"
        CLUSTER_CIDRS="10.244.0.0/16"
        POD_CIDR="10.244.0.0/24"
        PEERS="10.244.1.0/24=10.0.0.8"
        "#);
        insta::assert_snapshot!(files.conflist, @r#"
        {
          "cniVersion": "1.0.0",
          "name": "capn",
          "plugins": [
            {
              "bridge": "cni0",
              "hairpinMode": true,
              "ipMasq": false,
              "ipam": {
                "ranges": [
                  [
                    {
                      "subnet": "10.244.0.0/24"
                    }
                  ]
                ],
                "routes": [
                  {
                    "dst": "0.0.0.0/0"
                  }
                ],
                "type": "host-local"
              },
              "isGateway": true,
              "type": "bridge"
            },
            {
              "capabilities": {
                "portMappings": true
              },
              "type": "portmap"
            }
          ]
        }
        "#);
    }

    #[test]
    fn the_mark_changes_with_a_peer_and_not_with_the_order() {
        let a = node("a", "10.0.0.7", "10.244.0.0/24");
        let b = node("b", "10.0.0.8", "10.244.1.0/24");
        let c = node("c", "10.0.0.9", "10.244.2.0/24");
        let cidrs = ["10.244.0.0/16".to_owned()];
        let two = files(&a, &[a.clone(), b.clone()], &cidrs);
        let three = files(&a, &[c.clone(), b.clone(), a.clone()], &cidrs);
        assert_ne!(two.hash, three.hash);
        assert_eq!(three, files(&a, &[a.clone(), b, c], &cidrs));
    }
}
