//! `capn stop`: workers, then control planes, then the load balancer, while controllers look away.

use std::time::Duration;

use capi_api::conditions as core;
use capn_api::conditions::{BOOTSTRAP_SUCCEEDED, PAUSED, reasons};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Client, ResourceExt as _};

use super::act::{self, How};
use super::observe::Subject;
use super::record::{self, Phase, Stopped};
use super::{Asked, plan, show};
use crate::Context;
use crate::error::CommandError;
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;
use crate::ui::Ui;
use crate::watch::{Deadline, Objects, View};

/// How often it is looked whether an instance was started meanwhile.
const ROUNDS: usize = 3;
/// How long controllers may take to say that they leave a cluster alone. One of them may be making an
/// instance.
const ACKNOWLEDGED: Duration = Duration::from_secs(5 * 60);

/// Stops a cluster, or goes on with that.
///
/// # Errors
///
/// When an instance does not stop, or plane or server do not answer. What is stopped stays so, and the same
/// command goes on.
pub(crate) async fn stop(
    context: &Context,
    asked: &Asked<'_>,
    timeout: Duration,
    force: bool,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let mut session = Session::open(&state, Need::Objects).await?;
    let client = session.client().clone();
    // Whoever serves the plane runs its controllers.
    let is_worked_on = session.is_served();
    let work = Work { ui: &context.ui, client, asked, how: How { timeout, force }, is_worked_on };
    let result = tokio::select! {
        result = session.while_running(work.run()) => result,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")
            .hint("what is stopped stays so: the same command goes on")
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
    pub(super) asked: &'a Asked<'a>,
    pub(super) how: How,
    pub(super) is_worked_on: bool,
}

impl Work<'_> {
    pub(super) async fn run(&self) -> Result<(), CommandError> {
        let Self { ui, client, how, .. } = self;
        let Asked { name, namespace, dry_run } = *self.asked;
        let subject = Subject::find(client, namespace, name).await?;
        let instances = subject.instances().await?;
        let stages = plan::stop(&instances);
        if is_stopped(&subject) && stages.is_empty() {
            ui.say(format!("cluster `{name}` is stopped already; `capn start {name}` starts it"));
            return Ok(());
        }
        if dry_run {
            return show::print(ui, &stages, "stop");
        }
        if subject.existing.stopped.is_none() && !how.force {
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
            let subject = Subject::find(client, namespace, name).await?;
            let instances = subject.instances().await?;
            let stages = plan::stop(&instances);
            if stages.is_empty() {
                record::set(client, namespace, name, before, Phase::Stopped).await?;
                self.tell(&plan::start_by_themselves(&instances));
                return Ok(());
            }
            for stage in &stages {
                act::stop(ui, &subject.server, stage, *how).await?;
            }
        }
        Err(CommandError::new("somebody starts its instances again")
            .hint("another management cluster may have it, or a script on the server"))
    }

    fn tell(&self, start_by_themselves: &[String]) {
        let name = self.asked.name;
        if !start_by_themselves.is_empty() {
            self.ui.note(format!(
                "the server starts {} when its host starts (`boot.autostart`), although the cluster is stopped",
                start_by_themselves.join(", ")
            ));
        }
        self.ui.say(format!(
            "cluster `{name}` is stopped, and all its data is kept; `capn start {name}` starts it"
        ));
    }

    /// Waits until the controllers of the provider have said that they leave the cluster alone: what they
    /// were at is over then.
    async fn acknowledged(&self) -> Result<(), CommandError> {
        let mut objects = Objects::of(&self.client, self.asked.namespace, self.asked.name);
        let step = self.ui.step("controllers leave the cluster alone");
        let deadline = Deadline::after(ACKNOWLEDGED);
        loop {
            let view = tokio::select! {
                view = objects.changed() => view,
                () = tokio::time::sleep_until(deadline.at()) => return Err(CommandError::new(
                    format!("the controllers do not leave it alone within {deadline}"),
                )
                .hint("see what `capn serve` says; the same command goes on")),
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

fn is_stopped(subject: &Subject) -> bool {
    subject.view.cluster.as_deref().and_then(Phase::of) == Some(Phase::Stopped)
}

/// An object whose controller has not said yet that it is paused.
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

/// Refuses while a node is being made: kubeadm that is ended in the middle has failed for good.
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
            "machine `{}` is still being made, and what ends in the middle of that is lost",
            machine.name_any()
        ))
        .hint(format!("let it be made first: `capn up {name}`, or `capn describe cluster {name}`"))
        .hint("with `--force` it is stopped all the same")),
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
    fn a_node_that_is_being_made_is_not_stopped() {
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
    fn controllers_are_awaited_until_each_object_says_that_it_is_paused() {
        assert_eq!(awaited(&view(&[])).as_deref(), Some("LXCMachine `a`"));
        assert!(awaited(&view(&[(PAUSED, "False", "X")])).is_some());
        assert_eq!(awaited(&view(&[(PAUSED, "True", "X")])), None);
        assert_eq!(awaited(&View::default()), None);
    }
}
