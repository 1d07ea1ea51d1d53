//! The bridge of new instances and the firewall of the host.

use crate::facts::{HostFacts, NetworkFacts, Offer};
use crate::finding::Finding;

/// Findings from the firewall rules, if they can be read.
pub(super) fn firewall(host: &HostFacts, network: &NetworkFacts) -> Option<Finding> {
    const ID: &str = "firewall";
    if !network.exists || network.kind != "bridge" {
        return None;
    }
    let name = &network.name;
    // A DHCP test, if there was one, shows whether requests are answered.
    let was_tested = matches!(host.offer, Some(Offer::Received(_) | Offer::Missing));
    let reads_dhcp = network.gives_ipv4() && !was_tested;
    let dropped = host.forwarding.as_ref().filter(|_| reads_dhcp);
    if let Some(rule) = dropped.and_then(|rules| rules.drops_dhcp(name)) {
        let whose = suspect(host, name).firewall_name();
        let found =
            format!("{whose} drops DHCP requests (UDP port 67) from bridge `{name}` (`{rule}`)");
        return Some(remedied(host, name, Finding::problem(ID, found, NO_ADDRESS)));
    }
    match &host.forwarding {
        Some(rules) if !rules.forwards(name) => {
            let whose = if host.has_docker { "Docker's firewall" } else { "the host's firewall" };
            Some(
                Finding::problem(
                    ID,
                    format!("{whose} drops packets from bridge `{name}`"),
                    "nodes cannot reach the internet, and pods cannot reach other nodes",
                )
                .remedy(match host.has_docker {
                    true => format!(
                        "sudo iptables -I DOCKER-USER -i {name} -j ACCEPT && sudo iptables -I DOCKER-USER -o {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
                    ),
                    false => format!(
                        "sudo iptables -I FORWARD -i {name} -j ACCEPT && sudo iptables -I FORWARD -o {name} -j ACCEPT"
                    ),
                }),
            )
        }
        Some(_) => {
            Some(Finding::ok(ID, format!("the firewall forwards packets of bridge `{name}`")))
        }
        // Reading the firewall needs root.
        None if host.has_docker => Some(
            Finding::warning(
                ID,
                "Docker is installed on this host, and reading the firewall needs root",
                format!("Docker drops forwarded packets, which may cut off bridge `{name}`"),
            )
            .remedy("check it: `sudo capn doctor`"),
        ),
        None => None,
    }
}

const NO_ADDRESS: &str = "instances get no IPv4 address";

/// Findings from a DHCP test.
pub(super) fn dhcp(host: &HostFacts, network: &NetworkFacts) -> Option<Finding> {
    const ID: &str = "dhcp";
    let name = &network.name;
    let found = match host.offer.as_ref()? {
        Offer::Received(address) => format!("bridge `{name}` offers addresses: {address}"),
        Offer::NotTested(why) => format!("DHCP was not tested on bridge `{name}`: {why}"),
        Offer::Missing => {
            let found = format!(
                "bridge `{name}` offers no address: there was no response to a DHCP request within 3 s; {}",
                suspect(host, name).likely_cause()
            );
            return Some(remedied(host, name, Finding::problem(ID, found, NO_ADDRESS)));
        }
    };
    Some(Finding::ok(ID, found))
}

/// What is likely to drop requests.
enum Suspect<'a> {
    /// ufw, by a rule or by the policy of its chains.
    Ufw(&'a str),
    /// Another rule of iptables.
    Rule(&'a str),
    /// firewalld, by its table.
    Firewalld,
    /// An nftables table that filters incoming packets.
    Table(&'a str),
    /// Unknown.
    Unknown,
}

fn suspect<'a>(host: &'a HostFacts, bridge: &str) -> Suspect<'a> {
    let Some(firewall) = &host.forwarding else { return Suspect::Unknown };
    if let Some(rule) = firewall.drops_dhcp(bridge) {
        return match firewall.rules.lines().any(|line| line.starts_with(":ufw-")) {
            true => Suspect::Ufw(rule),
            false => Suspect::Rule(rule),
        };
    }
    match firewall.input_tables.iter().find(|table| table.ends_with(" firewalld")) {
        Some(_) => Suspect::Firewalld,
        None => {
            firewall.input_tables.first().map_or(Suspect::Unknown, |table| Suspect::Table(table))
        }
    }
}

impl Suspect<'_> {
    fn firewall_name(&self) -> &'static str {
        match self {
            Self::Ufw(_) => "ufw",
            _ => "the host's firewall",
        }
    }

    /// Returns the likely cause of a request without a response.
    fn likely_cause(&self) -> String {
        match self {
            Self::Ufw(rule) | Self::Rule(rule) => {
                format!("{} drops it (`{rule}`)", self.firewall_name())
            }
            Self::Firewalld => "firewalld may drop it".to_owned(),
            Self::Table(table) => format!("nftables table `{table}` may drop it"),
            Self::Unknown => {
                "no rule is known to drop it; the network's dnsmasq may have died".to_owned()
            }
        }
    }
}

/// Adds the commands against the likely cause.
fn remedied(host: &HostFacts, bridge: &str, finding: Finding) -> Finding {
    match suspect(host, bridge) {
        Suspect::Ufw(_) => finding.remedy(format!(
            "sudo ufw allow in on {bridge} && sudo ufw route allow in on {bridge}"
        )),
        Suspect::Rule(_) => finding
            .remedy(format!("sudo iptables -I INPUT -i {bridge} -p udp --dport 67 -j ACCEPT")),
        Suspect::Firewalld => finding.remedy(format!(
            "sudo firewall-cmd --zone=trusted --change-interface={bridge} --permanent && sudo firewall-cmd --reload"
        )),
        Suspect::Table(table) => finding.remedy(format!(
            "find the rule that drops UDP port 67 from {bridge}: `sudo nft list table {table}`"
        )),
        Suspect::Unknown => finding
            .remedy(format!("check whether it is running: `pgrep -a dnsmasq | grep {bridge}`; restarting the server starts it"))
            .remedy("find the rule that drops UDP port 67: `sudo nft list ruleset`"),
    }
}
