//! `capn start`: the load balancer, then control planes, then workers, until all is as it was.

use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::nodes::{self, Awaited};
use super::observe::Subject;
use super::record::{self, Phase, Stopped};
use super::{Asked, act, plan, show};
use crate::Context;
use crate::cluster;
use crate::error::CommandError;
use crate::session;
use crate::state::StateDir;
use crate::ui::Ui;
use crate::watch::{self, Deadline, Objects};

/// How long is waited, as long as `--timeouts` does not make it longer.
const WAIT: Duration = Duration::from_secs(15 * 60);
/// How long nodes have to come back before controllers may judge them.
const UNJUDGED: Duration = Duration::from_secs(90);

/// Starts a cluster, or goes on with that, and waits until it is Available and Services answer.
///
/// # Errors
///
/// When an instance does not start, or the cluster does not become Available. What is started stays so, and
/// the same command goes on.
pub(crate) async fn start(
    context: &Context,
    asked: &Asked<'_>,
    wait: Option<Duration>,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let hint = "what is started stays so: the same command goes on";
    let work = async |client: Client| run(&context.ui, &client, asked, wait).await;
    session::on_cluster(&state, asked.namespace, asked.dry_run, hint, work)
        .await
        .map_err(|error| error.while_doing(format!("cannot start cluster `{}`", asked.name)))
}

async fn run(
    ui: &Ui,
    client: &Client,
    asked: &Asked<'_>,
    wait: Option<Duration>,
) -> Result<(), CommandError> {
    let Asked { name, namespace, dry_run } = *asked;
    let subject = Subject::find(client, namespace, name).await?;
    if dry_run {
        return show::print(ui, &plan::start(&subject.instances().await?), "start");
    }
    let existing = &subject.existing;
    let deadline = Deadline::after(wait.unwrap_or(WAIT * subject.factor()));
    let stays_paused = existing.is_paused && existing.stopped != Some(Stopped::Running);
    let was_down = bring_up(ui, client, &subject, deadline).await?;
    if stays_paused {
        ui.say(format!(
            "cluster `{name}` runs, and is paused as before: `capn resume {name}` resumes it"
        ));
        return Ok(());
    }
    let mut objects = Objects::of(client, namespace, name);
    // What held before is no news.
    let known = watch::reached(&subject.view, &watch::Asked::by(&subject.view));
    let view = watch::follow_wanted(ui, &mut objects, deadline, known).await?;
    watch::settle(ui, &mut objects, view, deadline).await;
    if let Some(request) = &existing.request {
        cluster::prove_services(ui, client, request, &subject.identity, deadline).await?;
    }
    ui.say(match was_down {
        true => format!("cluster `{name}` runs again"),
        false => format!("cluster `{name}` runs already"),
    });
    Ok(())
}

/// Starts what does not run of a cluster, and gives it back to the controllers once its nodes are Ready.
/// Whether anything had to be done.
///
/// # Errors
///
/// When an instance does not start, or the nodes do not come back.
pub(crate) async fn bring_up(
    ui: &Ui,
    client: &Client,
    subject: &Subject,
    deadline: Deadline,
) -> Result<bool, CommandError> {
    let Subject { namespace, name, existing, server, .. } = subject;
    let instances = subject.instances().await?;
    let stages = plan::start(&instances);
    if stages.is_empty() && existing.stopped.is_none() {
        return Ok(false);
    }
    let is_started = |name: &str| stages.iter().flatten().any(|step| step.instance == name);
    for instance in instances.iter().filter(|instance| is_started(&instance.name)) {
        if let Some(message) = plan::excluded(subject.isolation(), instance) {
            return Err(CommandError::caused(
                format!("instance `{}` is not started", instance.name),
                message,
            ));
        }
    }
    if let Some(before) = existing.stopped {
        record::set(client, namespace, name, before, Phase::Starting).await?;
    }
    for stage in &stages {
        act::start(ui, server, stage).await?;
    }
    let has_nodes = subject.view.machines.iter().any(|machine| machine.node_name().is_some());
    let awaited = Awaited { plane: client, server, namespace, name };
    let mut missing = Vec::new();
    if has_nodes {
        // Nobody replaces a machine whose node is about to come back.
        let unjudged = Instant::now() + UNJUDGED * subject.factor();
        missing = awaited.back(ui, unjudged.min(deadline.at())).await?;
    }
    if let Some(before) = existing.stopped {
        record::forget(client, namespace, name, before).await?;
    }
    if !missing.is_empty() {
        nodes::all_back(ui, &awaited, deadline).await?;
    }
    Ok(true)
}
