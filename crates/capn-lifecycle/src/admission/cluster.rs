//! Cluster.

use capi_api::Cluster;
use kube::ResourceExt as _;
use serde_json::Value;

use super::Problem;
use super::fields::{is_dns1123_label, typed};

pub(super) fn mutate(_: &mut Value, _: Option<&Value>) {}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let cluster: Cluster = match typed(new) {
        Ok(cluster) => cluster,
        Err(problems) => return problems,
    };
    let mut problems = Vec::new();
    if !is_dns1123_label(&cluster.name_any()) {
        problems.push(Problem::new(
            "metadata.name",
            "must be a DNS label: at most 63 lower-case letters, digits and dashes",
        ));
    }
    if cluster.spec.topology.is_some() && old.is_none() {
        problems.push(Problem::new(
            "spec.topology",
            "clusters from a ClusterClass need the upstream Cluster API controllers; \
             write the objects of the cluster out instead",
        ));
    }
    if let Some(network) = &cluster.spec.cluster_network {
        for (field, ranges) in [("services", &network.services), ("pods", &network.pods)] {
            for (at, block) in ranges.iter().flat_map(|ranges| &ranges.cidr_blocks).enumerate() {
                if !is_cidr(block) {
                    problems.push(Problem::new(
                        format!("spec.clusterNetwork.{field}.cidrBlocks[{at}]"),
                        format!("\"{block}\" is not a valid CIDR (example: 10.244.0.0/16)"),
                    ));
                }
            }
        }
    }
    problems
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest)
}
