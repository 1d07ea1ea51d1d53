//! Checks in an instance of an image.

use incus_client::Client;

use super::{Check, Needs, ValidationCase, shell};
use crate::{
    containerd::{SETTINGS, settings},
    cri::check_sandbox,
};

/// Bootstrap data of the instances, to check that it is run.
pub(super) const USER_DATA: &str = "#cloud-config\nruncmd:\n- touch /run/capn-validated\n";

/// The identity map of a system that is not in a user namespace.
const WHOLE: &str = "0 0 4294967295";

/// A check.
pub(super) enum Inspection {
    /// A script must succeed; its output is the result.
    Script(&'static str, String),
    /// A script prints a text that must satisfy the function.
    Text(&'static str, &'static str, fn(&str) -> bool),
    /// containerd must use the configuration of its reported mode.
    Settings,
    /// A pod sandbox must run.
    Sandbox,
}

/// Right after its start, an instance may not have systemd yet.
const SYSTEMD: &str = "n=0; while [ $n -lt 300 ]; do \
     state=$(systemctl is-system-running --wait 2>/dev/null); \
     case \"$state\" in running|degraded) break;; esac; n=$((n + 1)); sleep 0.2; done; \
     failed=$(systemctl list-units --failed --plain --no-legend 2>/dev/null | cut -d' ' -f1); \
     echo ${state:-silent} $failed; [ \"$state\" = running ]";
/// On one line.
const UID_MAP: &str = "echo $(cat /proc/self/uid_map)";
/// The status line for people, which is available long after the start too.
const DECISION: &str = "systemctl status containerd --no-pager | sed -n 's/^ *Status: //p'";
const USER_DATA_RAN: &str =
    "cloud-init status --wait >/dev/null; cloud-init status; [ -e /run/capn-validated ]";

/// Returns all checks of an image in a case.
pub(super) fn of(needs: &Needs, case: &ValidationCase) -> Vec<Inspection> {
    let mut checks = vec![
        Inspection::Script("systemd runs with no failed unit", SYSTEMD.to_owned()),
        match case.unprivileged {
            true => Inspection::Text("it is in a user namespace", UID_MAP, |map| map != WHOLE),
            // On a server that is in a user namespace itself, it is in the same one.
            false => Inspection::Text("its root is root of the server", UID_MAP, |map| {
                map == WHOLE || map.starts_with("0 0 ")
            }),
        },
    ];
    if let Needs::Haproxy = needs {
        checks.push(Inspection::Script("haproxy runs", "systemctl is-active haproxy".to_owned()));
        return checks;
    }
    checks.extend([
        Inspection::Script("bootstrap data is run", USER_DATA_RAN.to_owned()),
        match case.unprivileged {
            true => Inspection::Text("containerd runs in unprivileged mode", DECISION, |line| {
                line.contains("config.unprivileged.toml")
            }),
            false => Inspection::Text("containerd runs in privileged mode", DECISION, |line| {
                line.contains("config.default.toml") || line.contains("config.restricted.toml")
            }),
        },
        Inspection::Settings,
    ]);
    // Without a sandbox image, the registry would be tested instead of the image.
    if !matches!(needs, Needs::Kubernetes { images: None, .. }) {
        checks.push(Inspection::Sandbox);
    }
    if let Needs::Kubernetes { version, images } = needs {
        checks.push(Inspection::Script(
            "kubelet and kubeadm have the version of the image",
            format!(
                "kubelet=$(kubelet --version); kubeadm=$(kubeadm version -o short); \
                 echo \"$kubelet, kubeadm $kubeadm\"; \
                 [ \"$kubelet\" = 'Kubernetes {version}' ] && [ \"$kubeadm\" = '{version}' ]"
            ),
        ));
        if let Some(without) = images {
            let script = images_script(version, without);
            checks.push(Inspection::Script("no container image needs to be pulled", script));
        }
    }
    checks
}

/// Checks that every image of kubeadm exists, except those of the omitted components.
fn images_script(version: &str, without: &[&str]) -> String {
    let without: String = without.iter().map(|name| format!(" -e /{name}:")).collect();
    let wanted = match without.is_empty() {
        true => String::new(),
        false => format!(" | grep -v{without}"),
    };
    format!(
        "has=$(ctr -n k8s.io images list -q); missing=; \
         for image in $(kubeadm config images list --kubernetes-version {version}{wanted}); do \
         echo \"$has\" | grep -qxF \"$image\" || missing=\"$missing $image\"; done; \
         echo \"${{missing:-all images are present}}\"; [ -z \"$missing\" ]"
    )
}

impl Inspection {
    /// The expectation.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Script(name, _) | Self::Text(name, _, _) => name,
            Self::Settings => "containerd runs with the settings of its mode",
            Self::Sandbox => "a pod sandbox runs",
        }
    }

    /// Runs the check.
    pub(super) async fn run(&self, client: &Client, instance: &str) -> Check {
        let (passed, observed) = match self {
            Self::Script(_, script) => shell(client, instance, script).await,
            Self::Text(_, script, holds) => {
                let (ran, text) = shell(client, instance, script).await;
                (ran && holds(&text), text)
            }
            Self::Settings => {
                let script = format!("readlink /etc/containerd/config.toml; {DUMP}");
                let (ran, text) = shell(client, instance, &script).await;
                match found_settings(&text) {
                    Ok(observed) => (ran, observed),
                    Err(observed) => (false, observed),
                }
            }
            Self::Sandbox => match check_sandbox(client, instance).await {
                Ok(proof) => (true, format!("{} with {}", proof.runtime, proof.image)),
                Err(error) => (false, chain(&error)),
            },
        };
        Check { name: self.name(), passed, observed }
    }
}

/// The effective configuration of containerd.
const DUMP: &str = "containerd config dump 2>/dev/null | tr -d ' '";

/// Compares the settings with those of the linked mode.
fn found_settings(text: &str) -> Result<String, String> {
    let (link, dump) = text.split_once('\n').unwrap_or((text, ""));
    let mode = link.trim().strip_prefix("config.").and_then(|rest| rest.strip_suffix(".toml"));
    let wanted = mode.and_then(settings).ok_or_else(|| format!("it uses {link}"))?;
    let has = |line: &str| dump.lines().any(|found| found == line);
    let wrong: Vec<String> = SETTINGS
        .iter()
        .zip(wanted)
        .map(|(key, value)| format!("{key}={value}"))
        .chain(["SystemdCgroup=true".to_owned()])
        .filter(|line| !has(line))
        .collect();
    match wrong.is_empty() {
        true => {
            let observed: Vec<String> =
                SETTINGS.iter().zip(wanted).map(|(key, value)| format!("{key}={value}")).collect();
            Ok(format!("{} ({link})", observed.join(", ")))
        }
        false => Err(format!("with {link}, containerd does not have {}", wrong.join(", "))),
    }
}

/// Formats an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_must_match_the_linked_mode() {
        let dump = |values: [bool; 3], cgroup: bool| {
            let [apparmor, oom, hugetlb] = values;
            format!(
                "disable_apparmor={apparmor}\nrestrict_oom_score_adj={oom}\n\
                 disable_hugetlb_controller={hugetlb}\nSystemdCgroup={cgroup}\n"
            )
        };
        let table = [
            ("config.unprivileged.toml", dump([true, true, true], true), true),
            ("config.unprivileged.toml", dump([true, false, true], true), false),
            ("config.unprivileged.toml", dump([true, true, true], false), false),
            ("config.default.toml", dump([false, false, false], true), true),
            ("config.default.toml", dump([true, true, true], true), false),
            ("config.restricted.toml", dump([false, true, false], true), true),
            ("config.other.toml", dump([false, true, false], true), false),
            ("", String::new(), false),
        ];
        for (link, dump, holds) in table {
            let found = found_settings(&format!("{link}\n{dump}"));
            assert_eq!(found.is_ok(), holds, "{link}\n{dump}: {found:?}");
        }
        let wrong = found_settings("config.default.toml\nSystemdCgroup=true").unwrap_err();
        assert!(wrong.contains("disable_apparmor=false"), "{wrong}");
    }
}
