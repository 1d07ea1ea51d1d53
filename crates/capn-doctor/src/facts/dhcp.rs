//! Whether the host's firewall accepts DHCP requests of instances.

/// Maximum depth of chains. The kernel rejects loops.
const DEPTH: usize = 16;

/// Outcome of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleOutcome {
    Accept,
    Drop,
}

/// Returns the rule, or the policy of a chain, that drops a DHCP request from this interface,
/// according to the output of `iptables-save -t filter`. Rules with other matches than interface,
/// protocol and ports, such as connection states, are ignored.
pub(super) fn dropped_by<'a>(rules: &'a str, interface: &str) -> Option<&'a str> {
    match rule_outcome(rules, "INPUT", interface, 0) {
        Some((RuleOutcome::Drop, line)) => Some(line.split(" [").next().unwrap_or(line)),
        _ => None,
    }
}

/// Returns the outcome of a packet in a chain, and the deciding line.
fn rule_outcome<'a>(
    rules: &'a str,
    chain: &str,
    interface: &str,
    depth: usize,
) -> Option<(RuleOutcome, &'a str)> {
    if depth > DEPTH {
        return None;
    }
    for line in rules.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("-A") || words.next() != Some(chain) {
            continue;
        }
        let words: Vec<&str> = words.collect();
        let Some(target) = target(&words, interface) else { continue };
        match target {
            "ACCEPT" => return Some((RuleOutcome::Accept, line)),
            "DROP" | "REJECT" => return Some((RuleOutcome::Drop, line)),
            "RETURN" => return None,
            // Other targets, such as LOG, are not chains and decide nothing.
            other => {
                if let Some(rule_outcome) = rule_outcome(rules, other, interface, depth + 1) {
                    return Some(rule_outcome);
                }
            }
        }
    }
    let policies = rules.lines().filter_map(|line| {
        Some((line, line.strip_prefix(':')?.strip_prefix(chain)?.strip_prefix(' ')?))
    });
    policies.into_iter().find_map(|(line, policy)| match policy.split_whitespace().next()? {
        "DROP" => Some((RuleOutcome::Drop, line)),
        "ACCEPT" => Some((RuleOutcome::Accept, line)),
        _ => None,
    })
}

/// Target of a rule, if it matches the packet.
fn target<'a>(words: &[&'a str], interface: &str) -> Option<&'a str> {
    let mut words = words.iter().copied();
    let mut not = false;
    while let Some(word) = words.next() {
        let matches = match word {
            "!" => {
                not = true;
                continue;
            }
            "-j" | "-g" => return words.next(),
            "-m" if matches!(words.next(), Some("udp" | "comment")) => true,
            "--comment" => {
                // Quoted if it has several words.
                let first = words.next()?;
                if first.starts_with('"') && !first.ends_with('"') {
                    words.find(|word| word.ends_with('"'))?;
                }
                true
            }
            "-i" => {
                let named = words.next()?;
                let same = match named.strip_suffix('+') {
                    Some(beginning) => interface.starts_with(beginning),
                    None => named == interface,
                };
                same != not
            }
            "-p" => (words.next()? == "udp") != not,
            "--dport" => has_port(words.next()?, 67) != not,
            "--sport" => has_port(words.next()?, 68) != not,
            _ => false,
        };
        if !matches {
            return None;
        }
        not = false;
    }
    None
}

fn has_port(text: &str, port: u16) -> bool {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    first.parse().is_ok_and(|first: u16| first <= port)
        && last.parse().is_ok_and(|last: u16| port <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dropping_rule_is_named() {
        let rule = "-A INPUT -i br0 -p udp -m udp --dport 67 -j DROP";
        let rules = format!(":INPUT ACCEPT [0:0]\n{rule}");
        assert_eq!(dropped_by(&rules, "br0"), Some(rule));
        assert_eq!(dropped_by(":INPUT DROP [12:720]\n", "br0"), Some(":INPUT DROP"));
    }

    #[test]
    fn requests_are_dropped_by_a_rule_or_by_the_policy() {
        let table = [
            (":INPUT ACCEPT [0:0]", false),
            (":INPUT DROP [0:0]", true),
            (":INPUT ACCEPT [0:0]\n-A INPUT -i br0 -p udp -m udp --dport 67 -j DROP", true),
            (":INPUT ACCEPT [0:0]\n-A INPUT -i br1 -p udp -m udp --dport 67 -j DROP", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT ! -i br1 -p udp -m udp --dport 67 -j REJECT", true),
            (":INPUT DROP [0:0]\n-A INPUT -i br0 -p udp -m udp --dport 67 -j ACCEPT", false),
            (":INPUT DROP [0:0]\n-A INPUT -i br+ -j ACCEPT", false),
            // As Incus 6.0 writes it.
            (
                ":INPUT DROP [0:0]\n-A INPUT -i br0 -p udp -m udp --dport 67 -m comment \
                 --comment \"generated for Incus network br0\" -j ACCEPT",
                false,
            ),
            // ufw inserts its chains behind that, a rule of the user's may be before.
            (
                ":INPUT DROP [0:0]\n-A INPUT -i br0 -p udp -m udp --dport 67 -j DROP\n\
                 -A INPUT -i br0 -p udp -m udp --dport 67 -m comment --comment one -j ACCEPT",
                true,
            ),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", true),
            (":INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", true),
            (
                ":INPUT DROP [0:0]\n:ufw-in - [0:0]\n:ufw-user - [0:0]\n-A INPUT -j ufw-in\n\
                 -A ufw-in -p udp -m udp --sport 67 --dport 68 -j ACCEPT\n-A ufw-in -j ufw-user\n\
                 -A ufw-user -i br0 -j ACCEPT",
                false,
            ),
            (
                ":INPUT DROP [0:0]\n:ufw-in - [0:0]\n-A INPUT -j ufw-in\n\
                 -A ufw-in -p udp -m udp --sport 67 --dport 68 -j ACCEPT",
                true,
            ),
        ];
        for (rules, dropped) in table {
            assert_eq!(dropped_by(rules, "br0").is_some(), dropped, "{rules}");
        }
    }
}
