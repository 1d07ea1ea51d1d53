//! Findings about the server alone, which conditions of an LXCCluster show as well.

use super::instances::instance_findings;
use super::version;
use crate::facts::ServerFacts;
use crate::finding::Finding;
use incus_client::api::Flavor;

/// Returns all findings about the server.
pub fn server_findings(facts: &ServerFacts) -> Vec<Finding> {
    let mut findings = vec![kernel(facts), server_version(facts)];
    if !facts.runs_containers {
        findings.push(Finding::problem(
            "containers",
            "the server cannot start containers",
            "nodes are system containers",
        ));
    }
    findings.extend(idmapped(facts));
    findings.extend(instance_findings(&facts.instances));
    findings.extend(other_server(facts));
    findings
}

/// Root in a node can answer ARP and neighbor requests for any address of its network.
fn other_server(facts: &ServerFacts) -> Vec<Finding> {
    let shared = facts.shared_networks.iter().map(|(network, clusters)| {
        let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
        Finding::warning(
            "neighbours",
            format!(
                "nodes of {} clusters are on network `{network}`: {}",
                clusters.len(),
                clusters.join(", ")
            ),
            "root in a node of one cluster can take over addresses of load balancers and nodes of the others",
        )
        .remedy("create a new cluster on its own network: `capn up NAME --network auto`")
    });
    shared.collect()
}

fn kernel(facts: &ServerFacts) -> Finding {
    const ID: &str = "kernel";
    let found = format!("the server's kernel is {}", facts.kernel);
    match version(&facts.kernel) {
        None => Finding::warning(ID, "the server does not report its kernel", "the kernel version cannot be checked"),
        Some(number) if number < (5, 15) => Finding::problem(
            ID,
            found,
            "too old: file ownership of unprivileged nodes cannot be mapped, and kubelet requires a newer kernel",
        )
        .remedy("install kernel 6.8 or later"),
        Some(number) if number < (6, 8) => Finding::warning(
            ID,
            found,
            "unprivileged nodes are tested with kernel 6.8 and later, which fixed overlayfs in user \
             namespaces and cgroups",
        )
        .remedy("install kernel 6.8 or later, on Debian 12: `sudo apt install -t bookworm-backports linux-image-amd64`"),
        Some(_) => Finding::ok(ID, found),
    }
}

fn server_version(facts: &ServerFacts) -> Finding {
    const ID: &str = "server-version";
    let found = format!("the server is {} {}", facts.flavor, facts.version);
    let Some(number) = version(&facts.version) else {
        return Finding::warning(ID, found, "capn does not know this version");
    };
    let oldest = match facts.flavor {
        Flavor::Incus => (6, 0),
        Flavor::Lxd => (5, 0),
    };
    if number < oldest {
        return Finding::problem(
            ID,
            found,
            format!("{} {}.{} is the oldest supported version", facts.flavor, oldest.0, oldest.1),
        )
        .remedy(
            "update the server; for Incus on Debian and Ubuntu see https://github.com/zabbly/incus",
        );
    }
    Finding::ok(ID, found)
}

/// With idmapped mounts a node starts at once; without them the owner of every file is changed
/// first.
fn idmapped(facts: &ServerFacts) -> Option<Finding> {
    const ID: &str = "idmapped-mounts";
    let value = facts.kernel_features.get("idmapped_mounts")?;
    Some(match value.as_str() {
        "true" => Finding::ok(ID, "the server supports idmapped mounts"),
        _ => Finding::warning(
            ID,
            "the kernel or file system does not support idmapped mounts",
            "the owner of all files of each new unprivileged node must be changed first, which is slow",
        )
        .remedy("use a pool on ext4, btrfs or XFS with a kernel of 6.8 or later"),
    })
}
