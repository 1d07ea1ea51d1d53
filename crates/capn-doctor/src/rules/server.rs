//! The server alone; also what an LXCCluster says of it.

use super::instances::instance_findings;
use super::version;
use crate::facts::ServerFacts;
use crate::finding::Finding;
use incus_client::api::Flavor;

/// Everything that the server itself tells.
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
    findings.extend(neighbours(facts));
    findings
}

/// Whoever is root in a node answers ARP and neighbour requests for any address of its network.
fn neighbours(facts: &ServerFacts) -> Vec<Finding> {
    let shared = facts.shared_networks.iter().map(|(network, clusters)| {
        let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
        Finding::warning(
            "neighbours",
            format!(
                "nodes of {} clusters are on network `{network}`: {}",
                clusters.len(),
                clusters.join(", ")
            ),
            "root in a node of one can take over the addresses of the others' load balancers and nodes",
        )
        .mend("give a new cluster a network of its own: `capn up NAME --network auto`")
    });
    shared.collect()
}

fn kernel(facts: &ServerFacts) -> Finding {
    const ID: &str = "kernel";
    let found = format!("the server's kernel is {}", facts.kernel);
    match version(&facts.kernel) {
        None => Finding::warning(ID, "the server does not say its kernel", "nothing can be said"),
        Some(number) if number < (5, 15) => Finding::problem(
            ID,
            found,
            "too old: files of unprivileged nodes cannot be mapped, and kubelet asks for more",
        )
        .mend("install a kernel of 6.8 or later"),
        Some(number) if number < (6, 8) => Finding::warning(
            ID,
            found,
            "unprivileged nodes are tested with 6.8 and later; overlayfs in user namespaces and \
             cgroups were mended up to there",
        )
        .mend("install a kernel of 6.8 or later, on Debian 12: `sudo apt install -t bookworm-backports linux-image-amd64`"),
        Some(_) => Finding::ok(ID, found),
    }
}

fn server_version(facts: &ServerFacts) -> Finding {
    const ID: &str = "server-version";
    let found = format!("the server is {} {}", facts.flavor, facts.version);
    let Some(number) = version(&facts.version) else {
        return Finding::warning(ID, found, "its version is not known to capn");
    };
    let oldest = match facts.flavor {
        Flavor::Incus => (6, 0),
        Flavor::Lxd => (5, 0),
    };
    if number < oldest {
        return Finding::problem(
            ID,
            found,
            format!("{} {}.{} is the oldest that works", facts.flavor, oldest.0, oldest.1),
        )
        .mend(
            "update the server; for Incus on Debian and Ubuntu see https://github.com/zabbly/incus",
        );
    }
    Finding::ok(ID, found)
}

/// With mapped mounts a node starts at once; without, every file changes its owner first.
fn idmapped(facts: &ServerFacts) -> Option<Finding> {
    const ID: &str = "idmapped-mounts";
    let value = facts.kernel_features.get("idmapped_mounts")?;
    Some(match value.as_str() {
        "true" => Finding::ok(ID, "the kernel maps the owners of files in mounts"),
        _ => Finding::warning(
            ID,
            "the kernel or file system does not map the owners of files in mounts",
            "each unprivileged node first changes the owner of all its files: creation is slow",
        )
        .mend("use a pool on ext4, btrfs or XFS with a kernel of 6.8 or later"),
    })
}
