//! What has to hold in an instance of an image.

use incus_client::Client;

use super::{Check, Needs, ValidationCase, shell};
use crate::{
    containerd::{SETTINGS, settings},
    cri::prove_sandbox,
};

/// Bootstrap data of the instances, to see that it is run.
pub(super) const USER_DATA: &str = "#cloud-config\nruncmd:\n- touch /run/capn-validated\n";

/// The identity map of a system that is in no user namespace.
const WHOLE: &str = "0 0 4294967295";

/// One look.
pub(super) enum Look {
    /// A script has to succeed; what it prints is what was seen.
    Script(&'static str, String),
    /// The script prints text that has to satisfy the function.
    Text(&'static str, &'static str, fn(&str) -> bool),
    /// containerd's configuration has to be that of the mode which it says it is in.
    Settings,
    /// A pod sandbox runs.
    Sandbox,
}

/// Just after its start an instance has no systemd that could be asked.
const SYSTEMD: &str = "n=0; while [ $n -lt 300 ]; do \
     state=$(systemctl is-system-running --wait 2>/dev/null); \
     case \"$state\" in running|degraded) break;; esac; n=$((n + 1)); sleep 0.2; done; \
     failed=$(systemctl list-units --failed --plain --no-legend 2>/dev/null | cut -d' ' -f1); \
     echo ${state:-silent} $failed; [ \"$state\" = running ]";
/// Words, so that it is on one line.
const UID_MAP: &str = "echo $(cat /proc/self/uid_map)";
/// The line that people see, also long after the start.
const DECISION: &str = "systemctl status containerd --no-pager | sed -n 's/^ *Status: //p'";
const USER_DATA_RAN: &str =
    "cloud-init status --wait >/dev/null; cloud-init status; [ -e /run/capn-validated ]";

/// All looks for an image in a case.
pub(super) fn of(needs: &Needs, case: &ValidationCase) -> Vec<Look> {
    let mut looks = vec![
        Look::Script("systemd runs with no failed unit", SYSTEMD.to_owned()),
        match case.unprivileged {
            true => Look::Text("it is in a user namespace", UID_MAP, |map| map != WHOLE),
            // On a server that is in a user namespace itself, it is in that one.
            false => Look::Text("root of it is root of the server", UID_MAP, |map| {
                map == WHOLE || map.starts_with("0 0 ")
            }),
        },
    ];
    if let Needs::Haproxy = needs {
        looks.push(Look::Script("haproxy runs", "systemctl is-active haproxy".to_owned()));
        return looks;
    }
    looks.extend([
        Look::Script("bootstrap data is run", USER_DATA_RAN.to_owned()),
        match case.unprivileged {
            true => Look::Text("containerd knows that it is unprivileged", DECISION, |line| {
                line.contains("config.unprivileged.toml")
            }),
            false => Look::Text("containerd knows that it is privileged", DECISION, |line| {
                line.contains("config.default.toml") || line.contains("config.restricted.toml")
            }),
        },
        Look::Settings,
    ]);
    // Without a sandbox image in it, the registry would be looked at, not the image.
    if !matches!(needs, Needs::Kubernetes { images: None, .. }) {
        looks.push(Look::Sandbox);
    }
    if let Needs::Kubernetes { version, images } = needs {
        looks.push(Look::Script(
            "kubelet and kubeadm are of the image's version",
            format!(
                "kubelet=$(kubelet --version); kubeadm=$(kubeadm version -o short); \
                 echo \"$kubelet, kubeadm $kubeadm\"; \
                 [ \"$kubelet\" = 'Kubernetes {version}' ] && [ \"$kubeadm\" = '{version}' ]"
            ),
        ));
        if let Some(without) = images {
            let script = images_script(version, without);
            looks.push(Look::Script("nothing has to be pulled", script));
        }
    }
    looks
}

/// Every image that kubeadm asks for is there, besides those of these components: kubeadm is told
/// not to ask for them.
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
         echo \"${{missing:-all images are there}}\"; [ -z \"$missing\" ]"
    )
}

impl Look {
    /// What has to hold.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Script(name, _) | Self::Text(name, _, _) => name,
            Self::Settings => "containerd runs with the settings of its mode",
            Self::Sandbox => "a pod sandbox runs",
        }
    }

    /// Looks.
    pub(super) async fn run(&self, client: &Client, instance: &str) -> Check {
        let (passed, seen) = match self {
            Self::Script(_, script) => shell(client, instance, script).await,
            Self::Text(_, script, holds) => {
                let (ran, text) = shell(client, instance, script).await;
                (ran && holds(&text), text)
            }
            Self::Settings => {
                let script = format!("readlink /etc/containerd/config.toml; {DUMP}");
                let (ran, text) = shell(client, instance, &script).await;
                match found_settings(&text) {
                    Ok(seen) => (ran, seen),
                    Err(seen) => (false, seen),
                }
            }
            Self::Sandbox => match prove_sandbox(client, instance).await {
                Ok(proof) => (true, format!("{} with {}", proof.runtime, proof.image)),
                Err(error) => (false, chain(&error)),
            },
        };
        Check { name: self.name(), passed, seen }
    }
}

/// What containerd makes of its configuration.
const DUMP: &str = "containerd config dump 2>/dev/null | tr -d ' '";

/// Compares the settings with those of the mode that is linked.
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
            let seen: Vec<String> =
                SETTINGS.iter().zip(wanted).map(|(key, value)| format!("{key}={value}")).collect();
            Ok(format!("{} ({link})", seen.join(", ")))
        }
        false => Err(format!("with {link} containerd has not {}", wrong.join(", "))),
    }
}

/// An error with its causes.
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
    fn settings_have_to_be_those_of_the_linked_mode() {
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
