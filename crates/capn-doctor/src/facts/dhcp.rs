//! Whether the host's firewall lets a DHCP request of an instance in.

/// How many chains may call each other. The kernel refuses loops.
const DEPTH: usize = 16;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
}

/// The rule, or the policy of a chain, by which a DHCP request that comes in through this interface is
/// dropped, by the output of `iptables-save -t filter`. A rule that also asks for something else than interface, protocol and
/// ports, such as the state of a connection, is taken not to be about it.
pub(super) fn dropped_by<'a>(rules: &'a str, interface: &str) -> Option<&'a str> {
    match verdict(rules, "INPUT", interface, 0) {
        Some((Verdict::Drop, line)) => Some(line.split(" [").next().unwrap_or(line)),
        _ => None,
    }
}

/// What becomes of the packet in a chain, and the line that decides it.
fn verdict<'a>(
    rules: &'a str,
    chain: &str,
    interface: &str,
    depth: usize,
) -> Option<(Verdict, &'a str)> {
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
            "ACCEPT" => return Some((Verdict::Accept, line)),
            "DROP" | "REJECT" => return Some((Verdict::Drop, line)),
            "RETURN" => return None,
            // Others, such as LOG, are no chains, and decide nothing.
            other => {
                if let Some(verdict) = verdict(rules, other, interface, depth + 1) {
                    return Some(verdict);
                }
            }
        }
    }
    let policies = rules.lines().filter_map(|line| {
        Some((line, line.strip_prefix(':')?.strip_prefix(chain)?.strip_prefix(' ')?))
    });
    policies.into_iter().find_map(|(line, policy)| match policy.split_whitespace().next()? {
        "DROP" => Some((Verdict::Drop, line)),
        "ACCEPT" => Some((Verdict::Accept, line)),
        _ => None,
    })
}

/// Where a rule sends the packet, if it is about it.
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
                // In quotes where it has several words.
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
    fn what_drops_it_is_named() {
        let rule = "-A INPUT -i br0 -p udp -m udp --dport 67 -j DROP";
        let rules = format!(":INPUT ACCEPT [0:0]\n{rule}");
        assert_eq!(dropped_by(&rules, "br0"), Some(rule));
        assert_eq!(dropped_by(":INPUT DROP [12:720]\n", "br0"), Some(":INPUT DROP"));
    }

    #[test]
    fn a_request_is_dropped_by_a_rule_or_by_what_is_left() {
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
