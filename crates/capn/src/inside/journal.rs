//! The journal of a machine's units: what is asked of `journalctl`. No I/O.

use std::time::Duration;

/// The stages of cloud-init, of old and new releases; kubeadm runs in the last.
const CLOUD_INIT: &[&str] = &[
    "cloud-init-local",
    "cloud-init-main",
    "cloud-init-network",
    "cloud-init",
    "cloud-config",
    "cloud-final",
];
/// Units that are shown when none is named.
const USUAL: &[&str] = &["kubelet", "containerd", "cloud-init"];
/// Longest name of a unit that systemd takes.
const LONGEST: usize = 255;

/// What is read of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Units, or the words `cloud-init` and `kubeadm` for theirs; none are the usual ones.
    pub units: Vec<String>,
    /// Not what is older than this.
    pub since: Option<Duration>,
    /// At most so many lines, the last ones.
    pub lines: u32,
    /// Goes on with what comes.
    pub follow: bool,
}

impl Wanted {
    /// The command.
    pub fn command(&self) -> Vec<String> {
        let mut command: Vec<String> =
            ["journalctl", "--no-pager", "--quiet", "--output=short-iso"].map(str::to_owned).into();
        command.push(format!("--lines={}", self.lines));
        if let Some(since) = self.since {
            command.push(format!("--since=-{}s", since.as_secs()));
        }
        if self.follow {
            command.push("--follow".to_owned());
        }
        let named = self.units.iter().map(String::as_str);
        let usual = USUAL.iter().copied().filter(|_| self.units.is_empty());
        for unit in named.chain(usual) {
            match unit {
                "cloud-init" => {
                    command.extend(CLOUD_INIT.iter().map(|unit| format!("--unit={unit}")));
                }
                "kubeadm" => command.push("--unit=cloud-final".to_owned()),
                unit => command.push(format!("--unit={unit}")),
            }
        }
        command
    }
}

/// Reads the name of a unit.
///
/// # Errors
///
/// When systemd has no such names; `*` would be a pattern.
pub fn unit(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if text.is_empty()
        || text.len() > LONGEST
        || text.starts_with('-')
        || !text.chars().all(is_plain)
    {
        return Err(
            "write the name of a systemd unit, as `kubelet` or `haproxy.service`".to_owned()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_becomes_options_of_journalctl() {
        let wanted = |units: &[&str]| Wanted {
            units: units.iter().map(|unit| (*unit).to_owned()).collect(),
            since: None,
            lines: 200,
            follow: false,
        };
        let common = "journalctl --no-pager --quiet --output=short-iso --lines=200";
        let cloud = "--unit=cloud-init-local --unit=cloud-init-main --unit=cloud-init-network --unit=cloud-init --unit=cloud-config --unit=cloud-final";
        for (wanted, options) in [
            (wanted(&[]), format!("--unit=kubelet --unit=containerd {cloud}")),
            (wanted(&["kubelet"]), "--unit=kubelet".to_owned()),
            (wanted(&["kubeadm"]), "--unit=cloud-final".to_owned()),
            (wanted(&["haproxy.service"]), "--unit=haproxy.service".to_owned()),
            (
                Wanted {
                    since: Some(Duration::from_secs(90)),
                    follow: true,
                    ..wanted(&["kubelet"])
                },
                "--since=-90s --follow --unit=kubelet".to_owned(),
            ),
        ] {
            assert_eq!(wanted.command().join(" "), format!("{common} {options}"));
        }
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for good in ["kubelet", "haproxy.service", "user@0.service", "a\\x2db.mount"] {
            assert_eq!(unit(good).as_deref(), Ok(good));
        }
        for bad in ["", "-f", "--flush", "a b", "kube*", "a;b", "ä", &"a".repeat(256)] {
            assert!(unit(bad).is_err(), "{bad}");
        }
    }
}
