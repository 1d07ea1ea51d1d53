//! Restarts the last etcd member as a single-member cluster.

use std::time::Duration;

use incus_client::Client;

use super::etcd::{self, DIR, EtcdStep, NextStep, manifest, next};
use crate::error::CommandError;
use crate::ui::Ui;
use crate::watch::Deadline;

/// Pause between inspections of the node.
const PAUSE: Duration = Duration::from_secs(1);

/// Carries out steps until etcd runs with its original manifest. The state is in the node, so an
/// interrupted run can be continued.
///
/// # Errors
///
/// Returns an error that describes the obstacle and where the original data is.
pub(super) async fn make_alone(
    ui: &Ui,
    server: &Client,
    instance: &str,
    deadline: Deadline,
) -> Result<(), CommandError> {
    let mut is_copied = false;
    let result = go(ui, server, instance, deadline, &mut is_copied).await;
    result.map_err(|error| match is_copied {
        true => {
            error.hint(format!("the original etcd data is in {DIR}/data of instance {instance}"))
        }
        false => error,
    })
}

async fn go(
    ui: &Ui,
    server: &Client,
    instance: &str,
    deadline: Deadline,
    is_copied: &mut bool,
) -> Result<(), CommandError> {
    let mut waiting: Option<(&'static str, crate::ui::Step)> = None;
    loop {
        let observed = etcd::look(server, instance).await?.etcd;
        *is_copied = observed.copied;
        match next(&observed) {
            NextStep::Over => {
                drop(waiting);
                return Ok(());
            }
            NextStep::Do(act) => {
                drop(waiting.take());
                // A copy made before etcd last ran with its original manifest is outdated.
                *is_copied &= act != EtcdStep::Stop || observed.live != observed.aside;
                let step = ui.step(format!("{} in {instance}", act.doing()));
                etcd::carry_out(server, instance, act, &given(act, &observed, instance)?).await?;
                step.done(told(act, instance));
            }
            NextStep::Wait(what) => {
                if waiting.as_ref().is_none_or(|(before, _)| *before != what) {
                    waiting = Some((what, ui.step(format!("wait for {what}"))));
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = tokio::time::sleep_until(deadline.at()) => {
                        return Err(CommandError::caused(
                            format!("did not finish within {deadline}"),
                            format!("instance {instance} is still waiting for {what}"),
                        ));
                    }
                }
            }
        }
    }
}

/// Returns the manifest that a step needs.
fn given(act: EtcdStep, observed: &etcd::Etcd, instance: &str) -> Result<String, CommandError> {
    if act != EtcdStep::Force {
        return Ok(String::new());
    }
    observed.aside.as_deref().and_then(manifest::forced).ok_or_else(|| {
        CommandError::new(format!(
            "the etcd manifest in instance {instance} was not written by kubeadm"
        ))
        .hint(format!(
            "it is in {DIR}/etcd.yaml of the instance; move it back to /etc/kubernetes/manifests"
        ))
    })
}

fn told(act: EtcdStep, instance: &str) -> String {
    match act {
        EtcdStep::SetAside => {
            format!("the etcd manifest of {instance} is backed up in {DIR}/etcd.yaml")
        }
        EtcdStep::Stop => format!("etcd in {instance} is stopped"),
        EtcdStep::Copy => format!("the etcd data of {instance} is copied to {DIR}/data"),
        EtcdStep::Force => format!("etcd in {instance} is starting as a single-member cluster"),
        EtcdStep::PutBack => format!("the etcd manifest of {instance} is restored"),
        EtcdStep::Clean => format!("the backups in {instance} are removed"),
    }
}

#[cfg(test)]
#[path = "survivor_tests.rs"]
mod tests;
