//! What the host's firewall does with packets that pass through it.

use std::time::Duration;

/// The FORWARD chain, and what an instance may ask of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Whether packets that no rule is about are dropped.
    pub drops: bool,
    /// Interfaces whose packets are let through by a rule of their own.
    pub accepted: Vec<String>,
    /// All rules, as `iptables-save -t filter` prints them.
    pub rules: String,
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
        Some(Self { drops: policy.starts_with("DROP"), accepted, rules: text.to_owned() })
    }

    /// Whether a DHCP request that comes in through this interface is dropped.
    pub fn drops_dhcp(&self, interface: &str) -> bool {
        super::dhcp::is_dropped(&self.rules, interface)
    }

    /// Whether packets from this interface get through.
    pub fn lets_through(&self, interface: &str) -> bool {
        !self.drops || self.accepted.iter().any(|accepted| accepted == interface)
    }
}

/// Asks the firewall of this machine, which only root may. `None` when it cannot be asked.
pub async fn forwarding() -> Option<Forwarding> {
    let mut command = tokio::process::Command::new("iptables-save");
    command.args(["-t", "filter"]).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(5), command.output()).await.ok()?.ok()?;
    Forwarding::parse(&String::from_utf8_lossy(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [12:720]\n\
        :DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n\
        -A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n-A DOCKER-USER -j RETURN\nCOMMIT\n";

    #[test]
    fn docker_drops_what_passes_through_unless_a_rule_lets_it() {
        let forwarding = Forwarding::parse(DOCKER).unwrap();
        assert!(forwarding.drops);
        assert!(!forwarding.lets_through("incusbr0"));
        let mended = DOCKER.replace(
            "-A DOCKER-USER -j",
            "-A DOCKER-USER -i incusbr0 -j ACCEPT\n-A DOCKER-USER -j",
        );
        assert!(Forwarding::parse(&mended).unwrap().lets_through("incusbr0"));
    }

    #[test]
    fn a_host_that_accepts_lets_everything_through() {
        assert!(Forwarding::parse(":FORWARD ACCEPT [0:0]\n").unwrap().lets_through("incusbr0"));
        assert_eq!(Forwarding::parse(""), None);
    }
}
