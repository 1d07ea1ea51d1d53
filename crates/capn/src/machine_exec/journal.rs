//! Builds `journalctl` commands. No I/O.

use std::time::Duration;

/// Units of cloud-init in old and new releases; kubeadm runs in the last one.
const CLOUD_INIT: &[&str] = &[
    "cloud-init-local",
    "cloud-init-main",
    "cloud-init-network",
    "cloud-init",
    "cloud-config",
    "cloud-final",
];
/// Default units.
const USUAL: &[&str] = &["kubelet", "containerd", "cloud-init"];
/// Maximum length of a systemd unit name.
const LONGEST: usize = 255;

/// Query for journal entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalQuery {
    /// Units, or `cloud-init` and `kubeadm` for their units; empty means the default units.
    pub units: Vec<String>,
    /// Only entries newer than this.
    pub since: Option<Duration>,
    /// Maximum number of lines, from the end.
    pub lines: u32,
    /// Keep following new entries.
    pub follow: bool,
}

impl JournalQuery {
    /// Returns the journalctl command.
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

/// Parses a unit name.
///
/// # Errors
///
/// Returns a message if it is not a valid systemd unit name; `*` would be a pattern.
pub fn unit(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if text.is_empty()
        || text.len() > LONGEST
        || text.starts_with('-')
        || !text.chars().all(is_plain)
    {
        return Err(
            "expected the name of a systemd unit such as `kubelet` or `haproxy.service`".to_owned()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_journalctl_options() {
        let wanted = |units: &[&str]| JournalQuery {
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
                JournalQuery {
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
    fn an_invalid_unit_name_is_refused() {
        for good in ["kubelet", "haproxy.service", "user@0.service", "a\\x2db.mount"] {
            assert_eq!(unit(good).as_deref(), Ok(good));
        }
        for bad in ["", "-f", "--flush", "a b", "kube*", "a;b", "ä", &"a".repeat(256)] {
            assert!(unit(bad).is_err(), "{bad}");
        }
    }
}
