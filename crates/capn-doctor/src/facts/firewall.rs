//! How the host's firewall handles forwarded and incoming packets.

use std::time::Duration;

/// State of the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Whether the policy of the FORWARD chain drops packets.
    pub drops: bool,
    /// Interfaces with a rule that accepts their packets.
    pub accepted: Vec<String>,
    /// All rules, as `iptables-save -t filter` prints them.
    pub rules: String,
    /// nftables tables with an input chain (`inet firewalld`), except those of iptables and of the
    /// server.
    pub input_tables: Vec<String>,
}

impl Forwarding {
    /// Reads the output of `iptables-save -t filter`.
    pub fn parse(text: &str) -> Option<Self> {
        let policy = text.lines().find_map(|line| line.strip_prefix(":FORWARD "))?;
        let chains = ["-A FORWARD ", "-A DOCKER-USER "];
        let accepted = text
            .lines()
            .filter(|line| chains.iter().any(|chain| line.starts_with(chain)))
            .filter(|line| line.contains("-j ACCEPT"))
            .filter_map(|line| {
                let mut words = line.split_whitespace().skip_while(|word| *word != "-i");
                words.nth(1).map(str::to_owned)
            })
            .collect();
        Some(Self {
            drops: policy.starts_with("DROP"),
            accepted,
            rules: text.to_owned(),
            input_tables: Vec::new(),
        })
    }

    /// Returns the rule, or the policy of a chain, that drops a DHCP request from this interface.
    pub fn drops_dhcp(&self, interface: &str) -> Option<&str> {
        super::dhcp::dropped_by(&self.rules, interface)
    }

    /// Returns whether packets from this interface are forwarded.
    pub fn forwards(&self, interface: &str) -> bool {
        let names = |rule: &str| match rule.strip_suffix('+') {
            Some(beginning) => interface.starts_with(beginning),
            None => rule == interface,
        };
        !self.drops || self.accepted.iter().any(|accepted| names(accepted))
    }
}

/// Reads the firewall of this host, which needs root. `None` when it cannot be read.
pub async fn forwarding() -> Option<Forwarding> {
    let rules = output(&["iptables-save", "-t", "filter"]).await?;
    // Not every host has `nft`.
    let chains = output(&["nft", "list", "chains"]).await.unwrap_or_default();
    Some(Forwarding { input_tables: input_tables(&chains), ..Forwarding::parse(&rules)? })
}

async fn output(words: &[&str]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(5), command.output()).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Parses the output of `nft list chains`.
fn input_tables(chains: &str) -> Vec<String> {
    let mut table = "";
    let mut found: Vec<String> = Vec::new();
    for line in chains.lines() {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches([' ', '{']);
        }
        let known = ["ip filter", "ip6 filter", "inet incus", "inet lxd"].contains(&table);
        if line.contains(" hook input ") && !known && !found.iter().any(|name| name == table) {
            found.push(table.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [12:720]\n\
        :DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n\
        -A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n-A DOCKER-USER -j RETURN\nCOMMIT\n";

    #[test]
    fn docker_drops_forwarded_traffic_without_a_rule() {
        let forwarding = Forwarding::parse(DOCKER).unwrap();
        assert!(forwarding.drops);
        assert!(!forwarding.forwards("incusbr0"));
        let fixed = DOCKER.replace(
            "-A DOCKER-USER -j",
            "-A DOCKER-USER -i incusbr0 -j ACCEPT\n-A DOCKER-USER -j",
        );
        assert!(Forwarding::parse(&fixed).unwrap().forwards("incusbr0"));
    }

    #[test]
    fn rules_may_match_bridges_by_prefix() {
        let rules = format!("{DOCKER}-A DOCKER-USER -i capn-+ -j ACCEPT\n");
        let forwarding = Forwarding::parse(&rules).unwrap();
        assert!(forwarding.forwards("capn-0a1b2c3d"));
        assert!(!forwarding.forwards("incusbr0"));
    }

    #[test]
    fn nftables_input_tables_are_found() {
        let chains = "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n\
            table inet firewalld {\n\tchain filter_INPUT {\n\t\ttype filter hook input priority filter + 10; policy accept;\n\t}\n\
            \tchain filter_IN_public {\n\t}\n}\ntable inet nat {\n\tchain out {\n\t\ttype nat hook output priority filter; policy accept;\n\t}\n}\n";
        assert_eq!(input_tables(chains), ["inet firewalld"]);
        assert_eq!(input_tables(""), [""; 0]);
    }

    #[test]
    fn an_accepting_host_forwards_everything() {
        assert!(Forwarding::parse(":FORWARD ACCEPT [0:0]\n").unwrap().forwards("incusbr0"));
        assert_eq!(Forwarding::parse(""), None);
    }
}
