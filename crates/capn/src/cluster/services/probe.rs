//! The probe program that runs in a node, and how its output is read. No I/O.
//!
//! It needs only bash, `timeout` and `base64`: bash opens sockets through paths such as
//! `/dev/udp/10.96.0.10/53`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::dns;

/// A Service with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Name of the Service.
    pub(super) name: &'static str,
    /// Its cluster IP.
    pub(super) ip: IpAddr,
    /// Its port.
    pub(super) port: u16,
}

impl Target {
    fn shown(&self) -> String {
        match self.ip {
            IpAddr::V4(ip) => format!("Service {} {ip}:{}", self.name, self.port),
            IpAddr::V6(ip) => format!("Service {} [{ip}]:{}", self.name, self.port),
        }
    }
}

/// What a node must reach.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// The API server's Service.
    pub(super) api: Target,
    /// The cluster's DNS Service, and the name of the API server's Service in it.
    pub(super) dns: Option<(Target, String)>,
}

/// Number of DNS queries per protocol. Each goes to a random endpoint: with two endpoints, one of
/// them gets no query at all in 1 of 30,000 runs.
const QUESTIONS: usize = 8;

/// Sends all queries in parallel and prints a line for each: protocol, exit code (124: timeout),
/// response.
///
/// Arguments: address and port of the API server, number of queries, address and port of DNS, query
/// for UDP and for TCP.
const PROGRAM: &str = r#"
for tool in timeout base64 dd; do command -v "$tool" >/dev/null || exit 127; done
ask='set -o pipefail; exec 3<>"/dev/$0/$1/$2" && base64 -d <<<"$3" >&3 && dd bs=4096 count=1 <&3 | base64 -w0'
dns() {
  answer=$(timeout 2 bash -c "$ask" "$1" "$dns" "$port" "$2" 2>/dev/null)
  echo "$1 $? $answer"
}
api() {
  timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null
  echo "api $?"
}
api "$1" "$2" &
dns=$4 port=$5
for ((question = 0; question < $3; question++)); do
  dns udp "$6" &
  dns tcp "$7" &
done
wait
"#;

impl Probe {
    /// Returns the command for a node.
    pub(super) fn command(&self) -> Vec<String> {
        let mut command: Vec<String> =
            ["bash", "-c", PROGRAM, "capn"].iter().map(|word| (*word).to_owned()).collect();
        command.extend([self.api.ip.to_string(), self.api.port.to_string()]);
        match &self.dns {
            None => command.push("0".to_owned()),
            Some((target, name)) => {
                let question = dns::question(name, self.api.ip);
                command.extend([
                    QUESTIONS.to_string(),
                    target.ip.to_string(),
                    target.port.to_string(),
                    BASE64_STANDARD.encode(&question),
                    BASE64_STANDARD.encode(dns::framed(&question)),
                ]);
            }
        }
        command
    }

    /// Interprets the output of the program on node `node`. `None` means all queries were answered.
    pub(super) fn problem(&self, node: &str, output: &str) -> Option<String> {
        let lines: Vec<Line<'_>> = output.lines().filter_map(Line::read).collect();
        if let Some((target, name)) = &self.dns {
            for protocol in ["udp", "tcp"] {
                if let Some(problem) = self.of_dns(&lines, protocol, target, name) {
                    return Some(format!("node `{node}` {problem}"));
                }
            }
        }
        match lines.iter().find(|line| line.kind == "api") {
            Some(line) if line.code == 0 => None,
            line => Some(format!(
                "node `{node}` cannot reach {} over TCP: {}",
                self.api.shown(),
                line.map_or("no request was sent", Line::silence)
            )),
        }
    }

    fn of_dns(
        &self,
        lines: &[Line<'_>],
        protocol: &str,
        target: &Target,
        name: &str,
    ) -> Option<String> {
        let asked: Vec<&Line<'_>> = lines.iter().filter(|line| line.kind == protocol).collect();
        let shown = protocol.to_uppercase();
        let silent: Vec<&&Line<'_>> =
            asked.iter().filter(|line| line.code != 0 || line.answer.is_empty()).collect();
        if silent.len() < asked.len() || asked.is_empty() {
            for line in asked.iter().filter(|line| line.code == 0 && !line.answer.is_empty()) {
                let with = match line.addresses(protocol) {
                    Ok(found) if found.contains(&self.api.ip) => continue,
                    Ok(found) if found.is_empty() => "no address".to_owned(),
                    Ok(found) => {
                        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
                        found.join(", ")
                    }
                    Err(problem) => problem,
                };
                return Some(format!(
                    "queries {} for {name} over {shown} and gets {with} instead of {}",
                    target.shown(),
                    self.api.ip
                ));
            }
        }
        let missing = QUESTIONS.saturating_sub(asked.len()) + silent.len();
        if missing == 0 {
            return None;
        }
        let why = silent.first().map_or("no request was sent", |line| line.silence());
        Some(format!(
            "cannot reach {} over {shown}: {missing} of {QUESTIONS} queries got no response ({why})",
            target.shown()
        ))
    }
}

/// One line of output.
struct Line<'a> {
    kind: &'a str,
    code: i32,
    answer: &'a str,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (kind, code) = (words.next()?, words.next()?.parse().ok()?);
        Some(Self { kind, code, answer: words.next().unwrap_or_default() })
    }

    fn addresses(&self, protocol: &str) -> Result<Vec<IpAddr>, String> {
        let message = BASE64_STANDARD.decode(self.answer).unwrap_or_default();
        dns::addresses(match protocol {
            "tcp" => message.get(2..).unwrap_or_default(),
            _ => &message,
        })
    }

    /// Returns why there is no response.
    fn silence(&self) -> &'static str {
        match self.code {
            124 => "no response within 2 s",
            0 => "the connection was closed",
            _ => "refused or no route",
        }
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
