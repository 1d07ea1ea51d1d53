//! Makes the last etcd member a cluster of one.

use std::time::Duration;

use incus_client::Client;

use super::etcd::{self, Act, FOLDER, Next, manifest, next};
use crate::error::CommandError;
use crate::ui::Ui;
use crate::watch::Deadline;

/// The pause between two looks into the node, of which nothing tells.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes one act after the other until etcd serves by its own manifest. What is in the node says where it
/// is, so that it goes on wherever it was ended.
///
/// # Errors
///
/// What is in the way, with where the data is as it was before.
pub(super) async fn make_alone(
    ui: &Ui,
    server: &Client,
    instance: &str,
    deadline: Deadline,
) -> Result<(), CommandError> {
    let mut is_copied = false;
    let result = go(ui, server, instance, deadline, &mut is_copied).await;
    result.map_err(|error| match is_copied {
        true => error
            .hint(format!("the data of etcd as it was is in {FOLDER}/data of instance {instance}")),
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
        let seen = etcd::look(server, instance).await?.etcd;
        *is_copied = seen.copied;
        match next(&seen) {
            Next::Over => {
                drop(waiting);
                return Ok(());
            }
            Next::Do(act) => {
                drop(waiting.take());
                // A copy from before etcd ran by its own manifest again is not kept.
                *is_copied &= act != Act::Stop || seen.live != seen.aside;
                let step = ui.step(format!("{} in {instance}", act.doing()));
                etcd::carry_out(server, instance, act, &given(act, &seen, instance)?).await?;
                step.done(told(act, instance));
            }
            Next::Wait(what) => {
                if waiting.as_ref().is_none_or(|(before, _)| *before != what) {
                    waiting = Some((what, ui.step(format!("wait for {what}"))));
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = tokio::time::sleep_until(deadline.at()) => {
                        return Err(CommandError::caused(
                            format!("not done within {deadline}"),
                            format!("instance {instance} still waits for {what}"),
                        ));
                    }
                }
            }
        }
    }
}

/// The manifest that an act needs.
fn given(act: Act, seen: &etcd::Etcd, instance: &str) -> Result<String, CommandError> {
    if act != Act::Force {
        return Ok(String::new());
    }
    seen.aside.as_deref().and_then(manifest::forced).ok_or_else(|| {
        CommandError::new(format!(
            "the manifest of etcd in instance {instance} is not one that kubeadm writes"
        ))
        .hint(format!("it is in {FOLDER}/etcd.yaml of the instance; put it back: `mv` it into /etc/kubernetes/manifests"))
    })
}

fn told(act: Act, instance: &str) -> String {
    match act {
        Act::SetAside => {
            format!("the manifest of etcd in {instance} is kept in {FOLDER}/etcd.yaml")
        }
        Act::Stop => format!("etcd in {instance} is stopped"),
        Act::Copy => format!("the data of etcd in {instance} is copied to {FOLDER}/data"),
        Act::Force => format!("etcd in {instance} is told to be a cluster of one"),
        Act::PutBack => format!("the manifest of etcd in {instance} is as it was"),
        Act::Clean => format!("the copies in {instance} are removed"),
    }
}

#[cfg(test)]
#[path = "survivor_tests.rs"]
mod tests;
