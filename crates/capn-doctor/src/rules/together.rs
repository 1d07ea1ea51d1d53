//! What shows only when the host and its server are looked at together.

use super::{bridge, version};
use crate::facts::{HostFacts, IDS_OF_ONE, ServerFacts};
use crate::finding::Finding;
use incus_client::api::Flavor;

/// kubelet's limit of pods where nothing else is said.
const USUAL_PODS: u64 = 110;
/// Ids of an isolated node whose pods all have a user namespace of their own; as
/// `capn_plan::id_map` says, which this crate may not use.
const IDS_WITH_PODS: u64 = IDS_OF_ONE * (USUAL_PODS + 1);
/// Fewer isolated nodes than these are said.
const FEW_NODES: u64 = 8;

/// The firewall against the bridge, AppArmor against the server's version, ids against instances.
pub fn together_findings(host: &HostFacts, server: &ServerFacts) -> Vec<Finding> {
    let network = server.instances.network.as_ref();
    [
        network.and_then(|network| bridge::firewall(host, network)),
        network.and_then(|network| bridge::dhcp(host, network)),
        nested_procfs(host, server),
        isolated_ids(host, server),
        pod_ids(host),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// runc since its fix of CVE-2025-52881 writes through detached mounts of procfs, which AppArmor
/// profiles of servers before the mending release deny (opencontainers/runc#4968, lxc/incus#2624).
/// They let it in instances with nesting, which all nodes have that capn configures. Only a runc that
/// is known to be in a node image counts: that of Debian 12 and 13 is older.
fn nested_procfs(host: &HostFacts, server: &ServerFacts) -> Option<Finding> {
    const ID: &str = "apparmor-runc";
    if !host.has_apparmor || server.flavor != Flavor::Incus {
        return None;
    }
    let number = version(&server.version)?;
    let affected: Vec<&str> = server
        .runc_versions
        .iter()
        .map(String::as_str)
        .filter(|runc| writes_through_detached_procfs(runc))
        .collect();
    let what = format!("{} {} with AppArmor", server.flavor, server.version);
    let nodes = &server.nodes_without_nesting;
    Some(match number >= (6, 19) || affected.is_empty() || nodes.is_empty() {
        true => Finding::ok(ID, format!("{what} lets runc write sysctls of pods")),
        false => Finding::warning(
            ID,
            format!(
                "{what} may keep runc {} from writing sysctls of pods in nodes without \
                 security.nesting: {}",
                affected.join(", "),
                nodes.join(", ")
            ),
            "pods in such nodes then fail with `ip_unprivileged_port_start: permission denied`, \
             unless your package has the patch",
        )
        .mend("for each of them: `incus config set NODE security.nesting=true && incus restart NODE`")
        .mend("or update to Incus 6.19 or later, or to a patched 6.0 as in https://github.com/zabbly/incus"),
    })
}

/// The same ranges as the rows `security.nesting for runc` of `capn_plan::versions`, which this
/// crate may not use; a test of the command compares them.
pub fn writes_through_detached_procfs(runc: &str) -> bool {
    let end = runc.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(runc.len());
    let mut numbers = runc[..end].split('.').map(|number| number.parse().unwrap_or(0_u32));
    let mut next = || numbers.next().unwrap_or(0);
    let version = (next(), next(), next());
    ((1, 2, 8)..(1, 3, 0)).contains(&version) || version >= (1, 3, 3)
}

fn isolated_ids(host: &HostFacts, server: &ServerFacts) -> Option<Finding> {
    const ID: &str = "isolated-ids";
    let range = host.subuid.first()?;
    // The first range stays unused.
    let free = range.count.saturating_sub(IDS_OF_ONE).saturating_sub(server.isolated_ids);
    let (plain, with_pods) = (free / IDS_OF_ONE, free / IDS_WITH_PODS);
    let found = format!(
        "the host has ids for {plain} more isolated nodes, or {with_pods} with `--max-pods \
         {USUAL_PODS}`"
    );
    Some(match plain < FEW_NODES {
        false => Finding::ok(ID, found),
        true => Finding::warning(ID, found, "`--isolation isolated` fails beyond them").mend(format!(
            "replace `{}` by `root:{}:1000000000` in /etc/subuid and /etc/subgid, then restart the daemon",
            range.line, range.first
        )),
    })
}

/// Pods with `hostUsers: false` get 65536 ids each. Shared nodes have all ids of the host's range.
fn pod_ids(host: &HostFacts) -> Option<Finding> {
    const ID: &str = "pod-ids";
    let range = host.subuid.first().filter(|range| range.count >= IDS_OF_ONE)?;
    let pods = (range.count / IDS_OF_ONE).saturating_sub(1);
    let found = format!("a shared node has ids for {pods} pods with `hostUsers: false`");
    Some(match range.count < IDS_WITH_PODS {
        false => Finding::ok(ID, found),
        true => Finding::warning(
            ID,
            found,
            format!("further ones do not start; kubelet allows {USUAL_PODS} pods a node"),
        )
        .mend(format!(
            "replace `{}` by `root:{}:1000000000` in /etc/subuid and /etc/subgid, then restart the daemon",
            range.line, range.first
        )),
    })
}
