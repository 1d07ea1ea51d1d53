//! What shows only when the host and its server are looked at together.

use super::version;
use crate::facts::{HostFacts, ServerFacts};
use crate::finding::Finding;
use incus_client::api::Flavor;

const IDS_OF_A_NODE: u64 = 65536;
/// Fewer isolated nodes than these are said.
const FEW_NODES: u64 = 8;

/// The firewall against the bridge, AppArmor against the server's version, ids against instances.
pub fn together_findings(host: &HostFacts, server: &ServerFacts) -> Vec<Finding> {
    [firewall(host, server), nested_procfs(host, server), isolated_ids(host, server)]
        .into_iter()
        .flatten()
        .collect()
}

fn firewall(host: &HostFacts, server: &ServerFacts) -> Option<Finding> {
    const ID: &str = "firewall";
    let bridge = server.instances.network.as_ref().filter(|n| n.exists && n.kind == "bridge")?;
    let name = &bridge.name;
    let asks_host = bridge.is_managed
        && bridge.config.get("ipv4.address").is_some_and(|address| address != "none");
    match &host.forwarding {
        Some(rules) if asks_host && rules.drops_dhcp(name) => Some(
            Finding::problem(
                ID,
                format!(
                    "the host's firewall drops DHCP requests (UDP port 67) from bridge `{name}`"
                ),
                "instances get no IPv4 address",
            )
            .mend(format!(
                "with ufw: `sudo ufw allow in on {name} && sudo ufw route allow in on {name}`"
            ))
            .mend(format!(
                "without: `sudo iptables -I INPUT -i {name} -p udp --dport 67 -j ACCEPT`"
            )),
        ),
        Some(rules) if !rules.lets_through(name) => {
            let whose = if host.has_docker { "Docker's firewall" } else { "the host's firewall" };
            Some(
                Finding::problem(
                    ID,
                    format!("{whose} drops packets from bridge `{name}`"),
                    "nodes do not reach the internet, or each other by their pods",
                )
                .mend(match host.has_docker {
                    true => format!(
                        "sudo iptables -I DOCKER-USER -i {name} -j ACCEPT && sudo iptables -I DOCKER-USER -o {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
                    ),
                    false => format!(
                        "sudo iptables -I FORWARD -i {name} -j ACCEPT && sudo iptables -I FORWARD -o {name} -j ACCEPT"
                    ),
                }),
            )
        }
        Some(_) => Some(Finding::ok(ID, format!("the firewall lets bridge `{name}` through"))),
        // Only root may ask the firewall.
        None if host.has_docker => Some(
            Finding::warning(
                ID,
                "Docker is on this host, and its firewall cannot be asked without root",
                format!(
                    "Docker drops what passes through the host: bridge `{name}` may be cut off"
                ),
            )
            .mend("ask it: `sudo capn doctor`"),
        ),
        None => None,
    }
}

/// runc since its fix of CVE-2025-52881 writes through detached mounts of procfs, which AppArmor
/// profiles of servers before the mending release deny (opencontainers/runc#4968, lxc/incus#2624).
fn nested_procfs(host: &HostFacts, server: &ServerFacts) -> Option<Finding> {
    const ID: &str = "apparmor-runc";
    if !host.has_apparmor {
        return None;
    }
    let number = version(&server.version)?;
    let what = format!("{} {} with AppArmor", server.flavor, server.version);
    let is_known_good = match server.flavor {
        Flavor::Incus => number >= (6, 19),
        Flavor::Lxd => return None,
    };
    Some(match is_known_good {
        true => Finding::ok(ID, format!("{what} lets runc write sysctls of pods")),
        false => Finding::warning(
            ID,
            format!("{what} may keep runc from writing sysctls of pods"),
            "with runc 1.3.3 and later, pods in unprivileged nodes then fail with \
             `ip_unprivileged_port_start: permission denied`, unless your package has the patch",
        )
        .mend("update to Incus 6.19 or later, or to a patched 6.0 as in https://github.com/zabbly/incus"),
    })
}

fn isolated_ids(host: &HostFacts, server: &ServerFacts) -> Option<Finding> {
    const ID: &str = "isolated-ids";
    let range = host.subuid.first()?;
    // The first range stays unused.
    let all = (range.count / IDS_OF_A_NODE).saturating_sub(1);
    let free = all.saturating_sub(server.isolated_instances);
    let found = format!("the host has ids for {free} more isolated nodes");
    Some(match free < FEW_NODES {
        false => Finding::ok(ID, found),
        true => Finding::warning(ID, found, "`--isolation isolated` fails beyond them").mend(format!(
            "replace `{}` by `root:{}:1000000000` in /etc/subuid and /etc/subgid, then restart the daemon",
            range.line, range.first
        )),
    })
}
