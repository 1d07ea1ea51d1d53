//! `capn stop`: stops workers, then control planes, then the load balancer, while the cluster is
//! paused.

use std::time::Duration;

use capi_api::conditions as core;
use capn_api::conditions::{BOOTSTRAP_SUCCEEDED, PAUSED, reasons};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Client, ResourceExt as _};

use super::instances::{self, StopOptions};
use super::observe::ClusterInstances;
use super::record::{self, Phase, Stopped};
use super::{PowerRequest, plan, show};
use crate::Context;
use crate::error::CommandError;
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;
use crate::ui::Ui;
use crate::watch::{Deadline, Objects, View};

/// Maximum number of rounds, in case instances are started meanwhile.
const ROUNDS: usize = 3;
/// How long controllers may take to acknowledge the pause. One of them may be creating an instance.
const ACKNOWLEDGED: Duration = Duration::from_secs(5 * 60);

/// Stops a cluster, or continues to.
///
/// # Errors
///
/// Returns an error if an instance does not stop, or if the plane or server does not respond.
/// Stopped instances stay stopped, and the same command continues.
pub(crate) async fn stop(
    context: &Context,
    asked: &PowerRequest<'_>,
    timeout: Duration,
    force: bool,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let mut session = Session::open(&state, Need::Objects).await?;
    let client = session.client().clone();
    // The process that serves the plane runs its controllers.
    let is_worked_on = session.is_served();
    let work = Work {
        ui: &context.ui,
        client,
        asked,
        options: StopOptions { timeout, force },
        is_worked_on,
    };
    let result = tokio::select! {
        result = session.while_running(work.run()) => result,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")
            .hint("stopped instances stay stopped; run the same command again to continue")
            .hint(format!("or start it again: `capn start {}`", asked.name))),
    };
    let closed = session.close().await;
    result
        .map_err(|error| error.while_doing(format!("cannot stop cluster `{}`", asked.name)))
        .and(closed)
}

pub(super) struct Work<'a> {
    pub(super) ui: &'a Ui,
    pub(super) client: Client,
    pub(super) asked: &'a PowerRequest<'a>,
    pub(super) options: StopOptions,
    pub(super) is_worked_on: bool,
}

impl Work<'_> {
    pub(super) async fn run(&self) -> Result<(), CommandError> {
        let Self { ui, client, options, .. } = self;
        let PowerRequest { name, namespace, dry_run } = *self.asked;
        let subject = ClusterInstances::find(client, namespace, name).await?;
        let instances = subject.instances().await?;
        let stages = plan::stop(&instances);
        if is_stopped(&subject) && stages.is_empty() {
            ui.say(format!(
                "cluster `{name}` is already stopped; start it with `capn start {name}`"
            ));
            return Ok(());
        }
        if dry_run {
            return show::print(ui, &stages, "stop");
        }
        if subject.existing.stopped.is_none() && !options.force {
            nothing_is_made(&subject.view, name)?;
        }
        let before = subject.existing.stopped.unwrap_or(match subject.existing.is_paused {
            true => Stopped::Paused,
            false => Stopped::Running,
        });
        record::set(client, namespace, name, before, Phase::Stopping).await?;
        if self.is_worked_on {
            self.acknowledged().await?;
        }
        for _ in 0..ROUNDS {
            let subject = ClusterInstances::find(client, namespace, name).await?;
            let instances = subject.instances().await?;
            let stages = plan::stop(&instances);
            if stages.is_empty() {
                record::set(client, namespace, name, before, Phase::Stopped).await?;
                self.tell(&plan::start_by_themselves(&instances));
                return Ok(());
            }
            for stage in &stages {
                instances::stop(ui, &subject.server, stage, *options).await?;
            }
        }
        Err(CommandError::new("its instances are being started again")
            .hint("another management cluster or a script on the server may start them"))
    }

    fn tell(&self, start_by_themselves: &[String]) {
        let name = self.asked.name;
        if !start_by_themselves.is_empty() {
            self.ui.note(format!(
                "the server will start {} when its host boots (`boot.autostart`), even though the cluster is stopped",
                start_by_themselves.join(", ")
            ));
        }
        self.ui.say(format!(
            "cluster `{name}` is stopped, and its data is kept; start it with `capn start {name}`"
        ));
    }

    /// Waits until the provider's controllers have acknowledged the pause, so that their current
    /// work is finished.
    async fn acknowledged(&self) -> Result<(), CommandError> {
        let mut objects = Objects::of(&self.client, self.asked.namespace, self.asked.name);
        let step = self.ui.step("controllers are paused");
        let deadline = Deadline::after(ACKNOWLEDGED);
        loop {
            let view = tokio::select! {
                view = objects.changed() => view,
                () = tokio::time::sleep_until(deadline.at()) => return Err(CommandError::new(
                    format!("the controllers did not acknowledge the pause within {deadline}"),
                )
                .hint("check the output of `capn serve`; run the same command again to continue")),
            };
            match awaited(&view) {
                None => break,
                Some(object) => step.detail(&object),
            }
        }
        drop(step);
        Ok(())
    }
}

fn is_stopped(subject: &ClusterInstances) -> bool {
    subject.view.cluster.as_deref().and_then(Phase::of) == Some(Phase::Stopped)
}

/// Returns an object whose controller has not reported it as paused yet.
fn awaited(view: &View) -> Option<String> {
    let is_paused = |list: Option<&Vec<Condition>>| core::is_true(list, PAUSED);
    if let Some(cluster) = &view.lxc_cluster
        && !is_paused(cluster.status.as_ref().map(|status| &status.conditions))
    {
        return Some(format!("LXCCluster `{}`", cluster.name_any()));
    }
    let machine = view
        .lxc_machines
        .iter()
        .find(|machine| !is_paused(machine.status.as_ref().map(|status| &status.conditions)))?;
    Some(format!("LXCMachine `{}`", machine.name_any()))
}

/// Refuses while a node is being created: interrupting kubeadm makes it fail permanently.
fn nothing_is_made(view: &View, name: &str) -> Result<(), CommandError> {
    let is_made = |machine: &&std::sync::Arc<capn_api::LXCMachine>| {
        let list = machine.status.as_ref().map(|status| &status.conditions);
        machine.metadata.deletion_timestamp.is_none()
            && core::get(list, BOOTSTRAP_SUCCEEDED).is_some_and(|found| {
                found.status == "False" && found.reason != reasons::BOOTSTRAP_FAILED
            })
    };
    match view.lxc_machines.iter().find(is_made) {
        None => Ok(()),
        Some(machine) => Err(CommandError::new(format!(
            "machine `{}` is still being created, and stopping it now would break it",
            machine.name_any()
        ))
        .hint(format!(
            "wait until it is created: `capn up {name}`, or check `capn describe cluster {name}`"
        ))
        .hint("use `--force` to stop it anyway")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn view(conditions: &[(&str, &str, &str)]) -> View {
        let list: Vec<_> = conditions
            .iter()
            .map(|(kind, status, reason)| {
                json!({
                    "type": kind, "status": status, "reason": reason, "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            })
            .collect();
        let machine = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCMachine",
            "metadata": { "name": "a" }, "spec": {}, "status": { "conditions": list },
        });
        View {
            lxc_machines: vec![Arc::new(serde_json::from_value(machine).unwrap())],
            ..View::default()
        }
    }

    #[test]
    fn a_node_that_is_being_created_is_not_stopped() {
        for (conditions, refused) in [
            (&[][..], false),
            (&[(BOOTSTRAP_SUCCEEDED, "True", "X")], false),
            (&[(BOOTSTRAP_SUCCEEDED, "Unknown", "X")], false),
            (&[(BOOTSTRAP_SUCCEEDED, "False", "X")], true),
            (&[(BOOTSTRAP_SUCCEEDED, "False", reasons::BOOTSTRAP_FAILED)], false),
        ] {
            assert_eq!(nothing_is_made(&view(conditions), "c").is_err(), refused, "{conditions:?}");
        }
    }

    #[test]
    fn stop_waits_until_every_object_reports_paused() {
        assert_eq!(awaited(&view(&[])).as_deref(), Some("LXCMachine `a`"));
        assert!(awaited(&view(&[(PAUSED, "False", "X")])).is_some());
        assert_eq!(awaited(&view(&[(PAUSED, "True", "X")])), None);
        assert_eq!(awaited(&View::default()), None);
    }
}
