//! The bridge of new instances and the host's firewall.

use crate::facts::{HostFacts, NetworkFacts, Offer};
use crate::finding::Finding;

/// What the firewall's rules say, as far as they can be read.
pub(super) fn firewall(host: &HostFacts, network: &NetworkFacts) -> Option<Finding> {
    const ID: &str = "firewall";
    if !network.exists || network.kind != "bridge" {
        return None;
    }
    let name = &network.name;
    // Whether requests are answered is known where one was made.
    let was_asked = matches!(host.offer, Some(Offer::Made(_) | Offer::Missing));
    let reads_dhcp = network.gives_ipv4() && !was_asked;
    let dropped = host.forwarding.as_ref().filter(|_| reads_dhcp);
    if let Some(rule) = dropped.and_then(|rules| rules.drops_dhcp(name)) {
        let whose = suspect(host, name).who();
        let found =
            format!("{whose} drops DHCP requests (UDP port 67) from bridge `{name}` (`{rule}`)");
        return Some(mended(host, name, Finding::problem(ID, found, NO_ADDRESS)));
    }
    match &host.forwarding {
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

const NO_ADDRESS: &str = "instances get no IPv4 address";

/// What came of a request for an address.
pub(super) fn dhcp(host: &HostFacts, network: &NetworkFacts) -> Option<Finding> {
    const ID: &str = "dhcp";
    let name = &network.name;
    let found = match host.offer.as_ref()? {
        Offer::Made(address) => format!("bridge `{name}` offers addresses: {address}"),
        Offer::NotAsked(why) => format!("bridge `{name}` was not asked for an address: {why}"),
        Offer::Missing => {
            let found = format!(
                "bridge `{name}` offers no address: nothing answered a DHCP request within 3 s; {}",
                suspect(host, name).says()
            );
            return Some(mended(host, name, Finding::problem(ID, found, NO_ADDRESS)));
        }
    };
    Some(Finding::ok(ID, found))
}

/// Who is likely to drop requests.
enum Suspect<'a> {
    /// ufw, by a rule or what its chains leave.
    Ufw(&'a str),
    /// Another rule of iptables.
    Rule(&'a str),
    /// firewalld, by its table.
    Firewalld,
    /// A table of nftables that filters what comes in.
    Table(&'a str),
    /// No rule is known.
    Nobody,
}

fn suspect<'a>(host: &'a HostFacts, bridge: &str) -> Suspect<'a> {
    let Some(firewall) = &host.forwarding else { return Suspect::Nobody };
    if let Some(rule) = firewall.drops_dhcp(bridge) {
        return match firewall.rules.lines().any(|line| line.starts_with(":ufw-")) {
            true => Suspect::Ufw(rule),
            false => Suspect::Rule(rule),
        };
    }
    match firewall.input_tables.iter().find(|table| table.ends_with(" firewalld")) {
        Some(_) => Suspect::Firewalld,
        None => {
            firewall.input_tables.first().map_or(Suspect::Nobody, |table| Suspect::Table(table))
        }
    }
}

impl Suspect<'_> {
    fn who(&self) -> &'static str {
        match self {
            Self::Ufw(_) => "ufw",
            _ => "the host's firewall",
        }
    }

    /// The likely cause of a request without an answer.
    fn says(&self) -> String {
        match self {
            Self::Ufw(rule) | Self::Rule(rule) => format!("{} drops it (`{rule}`)", self.who()),
            Self::Firewalld => "firewalld may drop it".to_owned(),
            Self::Table(table) => format!("nftables table `{table}` may drop it"),
            Self::Nobody => {
                "no rule is known to drop it, the network's dnsmasq may have ended".to_owned()
            }
        }
    }
}

/// Adds the commands against the likely cause.
fn mended(host: &HostFacts, bridge: &str, finding: Finding) -> Finding {
    match suspect(host, bridge) {
        Suspect::Ufw(_) => finding.mend(format!(
            "sudo ufw allow in on {bridge} && sudo ufw route allow in on {bridge}"
        )),
        Suspect::Rule(_) => finding
            .mend(format!("sudo iptables -I INPUT -i {bridge} -p udp --dport 67 -j ACCEPT")),
        Suspect::Firewalld => finding.mend(format!(
            "sudo firewall-cmd --zone=trusted --change-interface={bridge} --permanent && sudo firewall-cmd --reload"
        )),
        Suspect::Table(table) => finding.mend(format!(
            "look for what drops UDP port 67 from {bridge}: `sudo nft list table {table}`"
        )),
        Suspect::Nobody => finding
            .mend(format!("look whether it runs: `pgrep -a dnsmasq | grep {bridge}`; the server starts it when it starts"))
            .mend("look for what drops UDP port 67: `sudo nft list ruleset`"),
    }
}
