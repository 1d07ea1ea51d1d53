//! Node checks: verifies inside an instance that it has its own user namespace, that containerd is
//! configured for it, and that a pod sandbox runs.

use std::time::Duration;

use incus_client::{Client, ExecRequest};
use serde::Serialize;
use tokio::time::Instant;

use crate::error::CommandError;
use crate::manifest::ClusterRequest;
use crate::ui::Ui;
use crate::watch::View;

/// Time limit from the instance's address to a running containerd.
const BOOT: Duration = Duration::from_secs(120);
/// Time limit for one command in an instance.
const COMMAND: Duration = Duration::from_secs(30);
/// containerd settings required in a user namespace.
const SETTINGS: [&str; 3] =
    ["disable_apparmor", "restrict_oom_score_adj", "disable_hugetlb_controller"];

/// Result of checking one instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCheck {
    /// Name of the instance.
    pub instance: String,
    /// Ranges of its `/proc/self/uid_map`.
    pub uid_map: Vec<String>,
    /// containerd settings that are in effect.
    pub settings: Vec<String>,
    /// Name and version of the container runtime.
    pub runtime: String,
    /// ID of the pod sandbox that ran.
    pub sandbox: String,
}

/// Checks every machine of a cluster.
pub(super) async fn all(
    ui: &Ui,
    client: &Client,
    request: &ClusterRequest,
    view: &View,
) -> Result<Vec<NodeCheck>, CommandError> {
    let mut checks = Vec::new();
    for machine in &view.machines {
        let instance = &machine.spec.infrastructure_ref.name;
        let step = ui.step(format!("check instance `{instance}`"));
        let check = one(client, instance, request).await.map_err(|error| {
            error.while_doing(format!("instance `{instance}` failed its check"))
        })?;
        step.done(format!(
            "`{instance}`: user IDs {}, {}, pod sandbox {} ran",
            check.uid_map.join(" + "),
            check.runtime,
            check.sandbox.chars().take(12).collect::<String>(),
        ));
        checks.push(check);
    }
    Ok(checks)
}

async fn one(
    client: &Client,
    instance: &str,
    request: &ClusterRequest,
) -> Result<NodeCheck, CommandError> {
    let unprivileged = request.isolation.is_unprivileged();
    let uid_map = uid_map(&output(client, instance, &["cat", "/proc/self/uid_map"]).await?);
    let is_host = uid_map.iter().any(|range| range == "0 0 4294967295");
    if is_host == unprivileged {
        return Err(CommandError::new(format!("its uid map is {}", uid_map.join(" + "))));
    }
    containerd_runs(client, instance, BOOT * request.timeouts.factor()).await?;
    let config = output(client, instance, &["containerd", "config", "dump"]).await?;
    let settings: Vec<String> = SETTINGS
        .iter()
        .filter(|setting| is_set(&config, setting))
        .map(|setting| (*setting).to_owned())
        .collect();
    if unprivileged && settings.len() != SETTINGS.len() {
        let missing: Vec<&str> =
            SETTINGS.into_iter().filter(|setting| !settings.iter().any(|s| s == setting)).collect();
        return Err(CommandError::new(format!(
            "its containerd is not configured for a user namespace: {} is not set",
            missing.join(", ")
        ))
        .hint(format!("see `capn exec {instance} -- systemctl status containerd`")));
    }
    let sandbox = capn_image::cri::check_sandbox(client, instance)
        .await
        .map_err(|error| CommandError::caused("it cannot run a pod sandbox", error))?;
    Ok(NodeCheck {
        instance: instance.to_owned(),
        uid_map,
        settings,
        runtime: sandbox.runtime,
        sandbox: sandbox.sandbox_id,
    })
}

/// Waits until systemd reports containerd as active.
async fn containerd_runs(
    client: &Client,
    instance: &str,
    patience: Duration,
) -> Result<(), CommandError> {
    let deadline = Instant::now() + patience;
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tick.tick().await;
        let command = ["systemctl", "is-active", "containerd.service"];
        let state = match exec(client, instance, &command).await {
            Ok((_, state)) => state.trim().to_owned(),
            Err(error) => error.to_string(),
        };
        if state == "active" {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(CommandError::new(format!(
                "its containerd did not start within {} s: {state}",
                patience.as_secs()
            ))
            .hint(format!("see `capn exec {instance} -- journalctl -u containerd`")));
        }
    }
}

async fn output(client: &Client, instance: &str, command: &[&str]) -> Result<String, CommandError> {
    let (code, text) = exec(client, instance, command).await.map_err(|error| {
        CommandError::caused(format!("cannot run `{}`", command.join(" ")), error)
    })?;
    match code {
        0 => Ok(text),
        code => Err(CommandError::new(format!("`{}` exited with {code}", command.join(" ")))),
    }
}

async fn exec(
    client: &Client,
    instance: &str,
    command: &[&str],
) -> Result<(i32, String), incus_client::Error> {
    let request = ExecRequest { deadline: COMMAND, ..ExecRequest::new(command.iter().copied()) };
    let out = client.exec(instance, request).await?;
    Ok((out.exit_code, String::from_utf8_lossy(&out.stdout).into_owned()))
}

/// Ranges of a uid map, with single spaces.
fn uid_map(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

/// Returns whether a TOML text contains `setting = true`.
fn is_set(config: &str, setting: &str) -> bool {
    config.lines().any(|line| {
        line.split_once('=')
            .is_some_and(|(key, value)| key.trim() == setting && value.trim() == "true")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_map_is_parsed_by_range() {
        assert_eq!(uid_map("         0    1000000   65536\n"), ["0 1000000 65536"]);
    }

    #[test]
    fn a_setting_counts_only_when_it_is_true() {
        let config = "[plugins.cri]\n  disable_apparmor = true\n  restrict_oom_score_adj = false\n";
        assert!(is_set(config, "disable_apparmor"));
        assert!(!is_set(config, "restrict_oom_score_adj"));
        assert!(!is_set(config, "disable_hugetlb_controller"));
    }
}
