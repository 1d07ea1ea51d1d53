//! `capn start`: starts the load balancer, then control planes, then workers.

use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::nodes::{self, AwaitedNodes};
use super::observe::ClusterInstances;
use super::record::{self, Phase, Stopped};
use super::{PowerRequest, instances, plan, show};
use crate::Context;
use crate::cluster;
use crate::error::CommandError;
use crate::session;
use crate::state::StateDir;
use crate::ui::Ui;
use crate::watch::{self, Deadline, Objects};

/// Default time limit, unless `--timeouts` extends it.
const WAIT: Duration = Duration::from_secs(15 * 60);
/// How long nodes may take to come back before health checks apply again.
const UNJUDGED: Duration = Duration::from_secs(90);

/// Starts a cluster, or continues to, and waits until it is Available and Services respond.
///
/// # Errors
///
/// Returns an error if an instance does not start or the cluster does not become Available. Started
/// instances keep running, and the same command continues.
pub(crate) async fn start(
    context: &Context,
    asked: &PowerRequest<'_>,
    wait: Option<Duration>,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let hint = "started instances keep running; run the same command again to continue";
    let work = async |client: Client| run(&context.ui, &client, asked, wait).await;
    session::on_cluster(&state, asked.namespace, asked.dry_run, hint, work)
        .await
        .map_err(|error| error.while_doing(format!("cannot start cluster `{}`", asked.name)))
}

async fn run(
    ui: &Ui,
    client: &Client,
    asked: &PowerRequest<'_>,
    wait: Option<Duration>,
) -> Result<(), CommandError> {
    let PowerRequest { name, namespace, dry_run } = *asked;
    let subject = ClusterInstances::find(client, namespace, name).await?;
    if dry_run {
        return show::print(ui, &plan::start(&subject.instances().await?), "start");
    }
    let existing = &subject.existing;
    let deadline = Deadline::after(wait.unwrap_or(WAIT * subject.factor()));
    let stays_paused = existing.is_paused && existing.stopped != Some(Stopped::Running);
    let was_down = bring_up(ui, client, &subject, deadline).await?;
    if stays_paused {
        ui.say(format!(
            "cluster `{name}` is running and still paused, as before: resume it with `capn resume {name}`"
        ));
        return Ok(());
    }
    let mut objects = Objects::of(client, namespace, name);
    // Steps that were already complete are not reported again.
    let known = watch::reached(&subject.view, &watch::DesiredState::by(&subject.view));
    let view = watch::follow_wanted(ui, &mut objects, deadline, known).await?;
    watch::settle(ui, &mut objects, view, deadline).await;
    if let Some(request) = &existing.request {
        cluster::prove_services(ui, client, request, &subject.identity, deadline).await?;
    }
    ui.say(match was_down {
        true => format!("cluster `{name}` is running again"),
        false => format!("cluster `{name}` is already running"),
    });
    Ok(())
}

/// Starts the stopped instances of a cluster, and resumes it once its nodes are Ready. Returns
/// whether anything had to be done.
///
/// # Errors
///
/// Returns an error if an instance does not start or the nodes do not come back.
pub(crate) async fn bring_up(
    ui: &Ui,
    client: &Client,
    subject: &ClusterInstances,
    deadline: Deadline,
) -> Result<bool, CommandError> {
    let ClusterInstances { namespace, name, existing, server, .. } = subject;
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
        instances::start(ui, server, stage).await?;
    }
    let has_nodes = subject.view.machines.iter().any(|machine| machine.node_name().is_some());
    let awaited = AwaitedNodes { plane: client, server, namespace, name };
    let mut missing = Vec::new();
    if has_nodes {
        // Prevents replacing a machine whose node is about to come back.
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
