//! Findings that need facts of both the host and its server.

use super::{bridge, version};
use crate::facts::{HostFacts, IDS_OF_ONE, ServerFacts};
use crate::finding::Finding;
use incus_client::api::Flavor;

/// Default pod limit of kubelet.
const DEFAULT_MAX_PODS: u64 = 110;
/// Number of IDs of an isolated node whose pods all have their own user namespace; as in
/// `capn_plan::id_map`, on which this crate may not depend.
const IDS_WITH_PODS: u64 = IDS_OF_ONE * (DEFAULT_MAX_PODS + 1);
/// Warn when fewer isolated nodes than this fit.
const MIN_ISOLATED_NODES: u64 = 8;

/// The firewall and the bridge, AppArmor and the server version, IDs and instances.
pub fn combined_findings(host: &HostFacts, server: &ServerFacts) -> Vec<Finding> {
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

/// Since its fix for CVE-2025-52881, runc writes through detached procfs mounts, which the AppArmor
/// profiles of older servers deny (opencontainers/runc#4968, lxc/incus#2624). They allow it in
/// instances with nesting, which capn enables for all its nodes. Only a runc version that is known
/// to be in a node image counts: that of Debian 12 and 13 is older.
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
        true => Finding::ok(ID, format!("{what} allows runc to write the sysctls of pods")),
        false => Finding::warning(
            ID,
            format!(
                "{what} may prevent runc {} from writing the sysctls of pods in nodes without \
                 security.nesting: {}",
                affected.join(", "),
                nodes.join(", ")
            ),
            "pods in these nodes then fail with `ip_unprivileged_port_start: permission denied`, \
             unless your package contains the patch",
        )
        .remedy("for each node: `incus config set NODE security.nesting=true && incus restart NODE`")
        .remedy("or update to Incus 6.19 or later, or to a patched 6.0 such as https://github.com/zabbly/incus"),
    })
}

/// The same ranges as in the rows `security.nesting for runc` of `capn_plan::versions`, on which
/// this crate may not depend; a test of the command compares them.
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
    // The first range is reserved.
    let free = range.count.saturating_sub(IDS_OF_ONE).saturating_sub(server.isolated_ids);
    let (plain, with_pods) = (free / IDS_OF_ONE, free / IDS_WITH_PODS);
    let found = format!(
        "the host has IDs for {plain} more isolated nodes, or {with_pods} with `--max-pods \
         {DEFAULT_MAX_PODS}`"
    );
    Some(match plain < MIN_ISOLATED_NODES {
        false => Finding::ok(ID, found),
        true => Finding::warning(
            ID,
            found,
            "creating more nodes with `--isolation isolated` fails",
        )
        .remedy(format!(
            "replace `{}` with `root:{}:1000000000` in /etc/subuid and /etc/subgid, then restart \
             the daemon",
            range.line, range.first
        )),
    })
}

/// Pods with `hostUsers: false` get 65536 IDs each. Shared nodes have all IDs of the host's range.
fn pod_ids(host: &HostFacts) -> Option<Finding> {
    const ID: &str = "pod-ids";
    let range = host.subuid.first().filter(|range| range.count >= IDS_OF_ONE)?;
    let pods = (range.count / IDS_OF_ONE).saturating_sub(1);
    let found = format!("a shared node has IDs for {pods} pods with `hostUsers: false`");
    Some(match range.count < IDS_WITH_PODS {
        false => Finding::ok(ID, found),
        true => Finding::warning(
            ID,
            found,
            format!("more of them do not start; kubelet allows {DEFAULT_MAX_PODS} pods per node"),
        )
        .remedy(format!(
            "replace `{}` with `root:{}:1000000000` in /etc/subuid and /etc/subgid, then restart \
             the daemon",
            range.line, range.first
        )),
    })
}
