//! The pod network of a node: the standard bridge plugins, and either routes to the pods of the
//! other nodes or flannel. This module only renders text; the provider writes the files into the
//! instance.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Path where the container runtime reads the network configuration.
pub const CONFLIST_PATH: &str = "/etc/cni/net.d/10-capn.conflist";
/// Path where [`POD_NETWORK_UNIT`] reads routes and masquerading rules.
pub const POD_NETWORK_PATH: &str = "/etc/capn/pod-network.env";
/// Systemd unit that applies [`POD_NETWORK_PATH`] when the node boots and when capn restarts the
/// unit.
pub const POD_NETWORK_UNIT: &str = "capn-pod-network.service";

/// Pod network settings of one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Name of the node and its instance.
    pub name: String,
    /// Pod subnets of the node: one, or one per family.
    pub subnets: Vec<Subnet>,
}

/// Pod subnet of one node, of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    /// The CIDR of the pods (`10.244.1.0/24`).
    pub pod_cidr: String,
    /// Address of the node in the same family, which the other nodes use as the gateway.
    pub via: IpAddr,
}

/// How packets travel between pods of different nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRouting {
    /// Routes to each peer, managed by capn.
    Routes,
    /// An overlay network, managed by a daemon on each node.
    Overlay {
        /// Maximum MTU of a pod, in bytes.
        mtu: u32,
    },
}

/// The CIDRs of a cluster, of one family or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Pod CIDRs (`10.244.0.0/16`).
    pub pods: Vec<String>,
    /// Service CIDRs. Empty if the Cluster sets none.
    pub services: Vec<String>,
    /// The API server endpoint, if it is an IP address.
    pub endpoint: Option<SocketAddr>,
}

impl Ranges {
    /// Returns the target of the Service `kubernetes`, for example `10.96.0.1=192.0.2.1:6443`. The
    /// Service has the first address of the first range. `None` if the endpoint is unknown or of
    /// another family.
    fn api_server(&self) -> Option<String> {
        let endpoint = self.endpoint?;
        let service = first_address(self.services.first()?)?;
        (service.is_ipv4() == endpoint.is_ipv4()).then(|| format!("{service}={endpoint}"))
    }
}

/// Returns the first address of a range after the network address.
fn first_address(cidr: &str) -> Option<IpAddr> {
    let (ip, length) = cidr.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match ip.parse().ok()? {
        IpAddr::V4(ip) => {
            let network =
                ip.to_bits() & u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
            Some(IpAddr::V4((network | 1).into()))
        }
        IpAddr::V6(ip) => {
            let network =
                ip.to_bits() & u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
            Some(IpAddr::V6((network | 1).into()))
        }
    }
}

/// The two configuration files of one node, and a hash that changes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Content of [`CONFLIST_PATH`].
    pub conflist: String,
    /// Content of [`POD_NETWORK_PATH`]: lines of the form `KEY="value value"`. Traffic from
    /// `CLUSTER_CIDRS` to other destinations is masqueraded. Traffic to `SERVICE_CIDRS` that
    /// matches no Service is rejected. Until kube-proxy has installed its rules, the Service
    /// `kubernetes` is forwarded as `API_SERVER` says. Each entry of `PEERS` is the pod subnet of
    /// another node and its gateway.
    pub pod_network: String,
    /// The first 16 hex digits of the SHA-256 of all files.
    pub hash: String,
}

/// Renders the files of `node` in a cluster of `nodes` (which may include it) with these ranges.
///
/// Peer subnets of a family that `node` does not use are left out, because no route could reach
/// them.
pub fn files(node: &Node, nodes: &[Node], cluster: &Ranges, carrier: PodRouting) -> Files {
    let v6 = |cidr: &str| cidr.contains(':');
    let any = |cidr: &str| if v6(cidr) { "::/0" } else { "0.0.0.0/0" };
    let own = || node.subnets.iter().map(|subnet| subnet.pod_cidr.as_str());
    let ranges: Vec<Value> = own().map(|cidr| json!([{ "subnet": cidr }])).collect();
    let routes: Vec<Value> = own().map(|cidr| json!({ "dst": any(cidr) })).collect();
    let mut bridge = json!({
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": true,
        // Only traffic that leaves the cluster must be masqueraded, and the plugin cannot recognize
        // it. The unit on the node does it, or the daemon of the overlay.
        "ipMasq": false,
        "hairpinMode": true,
        "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
    });
    if let PodRouting::Overlay { mtu } = carrier {
        bridge["mtu"] = json!(mtu);
    }
    let conflist = pretty(&json!({
        "cniVersion": "1.0.0",
        "name": "capn",
        "plugins": [bridge, { "type": "portmap", "capabilities": { "portMappings": true } }],
    }));
    let peers: BTreeMap<_, _> = nodes
        .iter()
        .filter(|peer| peer.name != node.name && carrier == PodRouting::Routes)
        .flat_map(|peer| &peer.subnets)
        .filter(|subnet| node.subnets.iter().any(|own| own.via.is_ipv4() == subnet.via.is_ipv4()))
        .map(|subnet| (subnet.pod_cidr.clone(), subnet.via))
        .collect();
    let routes: Vec<_> = peers.iter().map(|(cidr, via)| format!("{cidr}={via}")).collect();
    let masqueraded = match carrier {
        PodRouting::Routes => cluster.pods.join(" "),
        PodRouting::Overlay { .. } => String::new(),
    };
    let pod_network = format!(
        "CLUSTER_CIDRS=\"{masqueraded}\"\nSERVICE_CIDRS=\"{}\"\nAPI_SERVER=\"{}\"\n\
         POD_CIDR=\"{}\"\nPEERS=\"{}\"\n",
        cluster.services.join(" "),
        cluster.api_server().unwrap_or_default(),
        own().collect::<Vec<_>>().join(" "),
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
        Node { name: name.into(), subnets: vec![subnet(address, pod_cidr)] }
    }

    fn ranges(pods: &[&str], services: &[&str]) -> Ranges {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let endpoint = Some("192.0.2.1:6443".parse().unwrap());
        Ranges { pods: owned(pods), services: owned(services), endpoint }
    }

    fn subnet(address: &str, pod_cidr: &str) -> Subnet {
        Subnet { pod_cidr: pod_cidr.into(), via: address.parse().unwrap() }
    }

    #[test]
    fn pods_of_both_families_have_ranges_routes_and_peers_of_both() {
        let both = |name: &str, n: u8| Node {
            name: name.into(),
            subnets: vec![
                subnet(&format!("10.0.0.{n}"), &format!("10.244.{n}.0/24")),
                subnet(&format!("fd42::{n}"), &format!("fd00:0:0:{n}::/64")),
            ],
        };
        let nodes = [both("a", 1), both("b", 2), node("c", "10.0.0.3", "10.244.3.0/24")];
        let cidrs = ranges(&["10.244.0.0/16", "fd00::/56"], &["10.96.0.0/12", "fd01::/112"]);
        let files = files(&nodes[0], &nodes, &cidrs, PodRouting::Routes);
        insta::assert_snapshot!(files.pod_network, @r#"
        CLUSTER_CIDRS="10.244.0.0/16 fd00::/56"
        SERVICE_CIDRS="10.96.0.0/12 fd01::/112"
        API_SERVER="10.96.0.1=192.0.2.1:6443"
        POD_CIDR="10.244.1.0/24 fd00:0:0:1::/64"
        PEERS="10.244.2.0/24=10.0.0.2 10.244.3.0/24=10.0.0.3 fd00:0:0:2::/64=fd42::2"
        "#);
        let conflist: Value = serde_json::from_str(&files.conflist).unwrap();
        let ipam = &conflist["plugins"][0]["ipam"];
        assert_eq!(
            ipam["ranges"],
            json!([[{ "subnet": "10.244.1.0/24" }], [{ "subnet": "fd00:0:0:1::/64" }]])
        );
        assert_eq!(ipam["routes"], json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]));
    }

    #[test]
    fn the_api_server_is_the_first_address_of_the_first_range() {
        let at = |services: &[&str], endpoint: &str| {
            let endpoint = Some(endpoint.parse().unwrap());
            Ranges { endpoint, ..ranges(&[], services) }.api_server()
        };
        let (v4, v6) = ("192.0.2.1:6443", "[2001:db8::1]:6443");
        for (services, endpoint, expected) in [
            (&["10.96.0.0/12"][..], v4, Some("10.96.0.1=192.0.2.1:6443")),
            (&["10.100.3.7/16"], v4, Some("10.100.0.1=192.0.2.1:6443")),
            (&["fd00:10:96::/112", "10.96.0.0/12"], v6, Some("fd00:10:96::1=[2001:db8::1]:6443")),
            (&["10.96.0.0/12", "fd00:10:96::/112"], v6, None),
            (&[], v4, None),
            (&["10.96.0.0"], v4, None),
            (&["10.96.0.0/33"], v4, None),
            (&["0.0.0.0/0"], v4, Some("0.0.0.1=192.0.2.1:6443")),
        ] {
            assert_eq!(at(services, endpoint).as_deref(), expected, "{services:?}");
        }
    }

    #[test]
    fn an_overlay_needs_smaller_packets_and_no_routes_of_ours() {
        let nodes =
            [node("a", "10.0.0.7", "10.244.0.0/24"), node("b", "10.0.0.8", "10.244.1.0/24")];
        let cidrs = ranges(&["10.244.0.0/16"], &[]);
        let files = files(&nodes[0], &nodes, &cidrs, PodRouting::Overlay { mtu: 1450 });
        assert!(files.conflist.contains("\"mtu\": 1450"), "{}", files.conflist);
        assert_eq!(
            files.pod_network,
            "CLUSTER_CIDRS=\"\"\nSERVICE_CIDRS=\"\"\nAPI_SERVER=\"\"\nPOD_CIDR=\"10.244.0.0/24\"\nPEERS=\"\"\n"
        );
    }

    #[test]
    fn a_node_routes_to_its_peers_and_not_to_itself() {
        let nodes = [
            node("a", "10.0.0.7", "10.244.0.0/24"),
            node("b", "10.0.0.8", "10.244.1.0/24"),
            node("c", "2001:db8::9", "fd00:1::/64"),
        ];
        let files = files(
            &nodes[0],
            &nodes,
            &ranges(&["10.244.0.0/16"], &["10.96.0.0/12"]),
            PodRouting::Routes,
        );
        insta::assert_snapshot!(files.pod_network, @r#"
        CLUSTER_CIDRS="10.244.0.0/16"
        SERVICE_CIDRS="10.96.0.0/12"
        API_SERVER="10.96.0.1=192.0.2.1:6443"
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
    fn the_hash_changes_with_a_peer_but_not_with_the_order() {
        let a = node("a", "10.0.0.7", "10.244.0.0/24");
        let b = node("b", "10.0.0.8", "10.244.1.0/24");
        let c = node("c", "10.0.0.9", "10.244.2.0/24");
        let cidrs = ranges(&["10.244.0.0/16"], &[]);
        let two = files(&a, &[a.clone(), b.clone()], &cidrs, PodRouting::Routes);
        let three = files(&a, &[c.clone(), b.clone(), a.clone()], &cidrs, PodRouting::Routes);
        assert_ne!(two.hash, three.hash);
        assert_eq!(three, files(&a, &[a.clone(), b, c], &cidrs, PodRouting::Routes));
    }
}
