//! Upgrades a cluster to another Kubernetes version by replacing its machines.
//!
//! The state is [observed](observe), the upgrade is [planned](plan) without I/O, and the steps are
//! [applied](apply) in order: images before the first machine, the control plane one minor version
//! at a time, then workers. Each step sets the desired state in the objects and waits until it is
//! reached, so that the same command continues after an interruption.

mod apply;
mod config;
mod observe;
pub mod plan;
pub mod refusal;
pub mod removed;
mod rollback;
pub mod seen;
mod show;
mod space;
mod steps;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use capn_image::binaries::{KubernetesDirectory, RuntimeDirectory};
use kube::Client;
use tokio::time::Instant;

use crate::Context;
use crate::cluster::{self, Existing};
use crate::error::CommandError;
use crate::etcd::Keeper;
use crate::identity::Identity;
use crate::images;
use crate::manifest::ClusterRequest;
use crate::output::Format;
use crate::preflight::{self, KubernetesVersion};
use crate::session::{self, Need, Session};
use crate::state::StateDir;
use crate::ui::Ui;
use crate::watch::{self, Deadline, Objects, View};
use plan::Plan;
use refusal::Refusal;
use steps::Work;

/// Time limit per replaced machine, unless `--timeouts` extends it.
const WAIT: Duration = Duration::from_secs(15 * 60);

/// How long to wait for the cluster to become Available before the upgrade is refused.
const PATIENCE: Duration = Duration::from_secs(30);

/// Goal of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Upgrade to a version.
    To(KubernetesVersion),
    /// Roll back to the previous version, if the upgrade has just begun.
    Back,
}

/// An upgrade request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the cluster.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The goal.
    pub aim: &'a Aim,
    /// Directories of Kubernetes binaries.
    pub binaries: &'a [Utf8PathBuf],
    /// Directory of the container runtime.
    pub runtime: Option<&'a Utf8Path>,
    /// Whether clients may use APIs that the version removes.
    pub allow_removed_apis: bool,
    /// Whether to take an etcd snapshot before the first machine changes.
    pub etcd_snapshot: bool,
    /// Total time limit; `None` depends on the number of machines.
    pub wait: Option<Duration>,
}

/// Prints what [`upgrade`] would do, without changing anything.
///
/// # Errors
///
/// Returns an error if it would be refused, or if the plane or the server does not respond.
pub async fn show(
    context: &Context,
    asked: &Asked<'_>,
    format: Format,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let found = find(context, session.client(), asked, Duration::ZERO).await;
    let closed = session.close().await;
    let Ready { plan, .. } = found.map_err(|error| refused(asked, error))?;
    closed?;
    if plan.steps.is_empty() {
        nothing(&context.ui, asked, &plan);
    } else {
        context.ui.say(show::summary(asked.name, &plan));
    }
    if plan.steps.is_empty() && matches!(format, Format::Table | Format::Wide | Format::Name) {
        return Ok(());
    }
    show::print(context, asked.name, &plan, format)
}

/// Upgrades a cluster, or continues to, and waits until all its machines have the version.
///
/// # Errors
///
/// Returns an error if it is refused before any change, or if a machine does not become ready.
/// Completed steps are kept, and the same command continues.
pub async fn upgrade(context: &Context, asked: &Asked<'_>) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let hint = "replaced machines are kept; run the same command again to continue";
    let work = async |client: Client| {
        let ready = Box::pin(find(context, &client, asked, PATIENCE)).await?;
        Box::pin(carry_out(&context.ui, &client, asked, &ready, &Keeper::of(&state))).await
    };
    let done = session::on_cluster(&state, asked.namespace, false, hint, work).await;
    done.map_err(|error| refused(asked, error))
}

fn refused(asked: &Asked<'_>, error: CommandError) -> CommandError {
    error.while_doing(match asked.aim {
        Aim::To(version) => format!("cannot upgrade cluster `{}` to {version}", asked.name),
        Aim::Back => format!("cannot roll back the upgrade of cluster `{}`", asked.name),
    })
}

fn nothing(ui: &Ui, asked: &Asked<'_>, plan: &Plan) {
    ui.say(format!("cluster `{}` runs {}: nothing to do", asked.name, plan.to));
}

/// A plan and what is needed to apply it.
struct Ready {
    plan: Plan,
    existing: Existing,
    identity: Identity,
    server: incus_client::Client,
    folders: Vec<KubernetesDirectory>,
    runtime: Option<RuntimeDirectory>,
    image_servers: Vec<String>,
    /// How many machines all MachinePools have.
    pooled: usize,
    /// What held before, which is no news.
    known: HashSet<String>,
}

/// Observes and plans. Gives controllers some time to update the Available condition, which may be
/// old.
async fn find(
    context: &Context,
    client: &Client,
    asked: &Asked<'_>,
    patience: Duration,
) -> Result<Ready, CommandError> {
    let folders = folders(context, asked).await?;
    let runtime = images::runtime(context, asked.runtime).await?;
    plan_within(client, asked, (folders, runtime), patience).await
}

/// The folders of binaries, and that of the container runtime.
type Folders = (Vec<KubernetesDirectory>, Option<RuntimeDirectory>);

async fn plan_within(
    client: &Client,
    asked: &Asked<'_>,
    folders: Folders,
    patience: Duration,
) -> Result<Ready, CommandError> {
    let deadline = Instant::now() + patience;
    let mut objects = Objects::of(client, asked.namespace, asked.name);
    loop {
        let refusal = match look(client, asked, folders.clone()).await? {
            Ok(ready) => return Ok(ready),
            Err(refusal) => refusal,
        };
        let is_passing = matches!(refusal, Refusal::Unavailable { .. });
        if !is_passing || tokio::time::timeout_at(deadline, objects.changed()).await.is_err() {
            return Err(refusal.into_command(asked.name));
        }
    }
}

async fn look(
    client: &Client,
    asked: &Asked<'_>,
    (folders, runtime): Folders,
) -> Result<Result<Ready, Refusal>, CommandError> {
    let Asked { name, namespace, .. } = *asked;
    let existing = cluster::existing(client, namespace, name).await?;
    let view = watch::read(client, namespace, name).await;
    let identity = cluster::identity(client, namespace, &existing, &view).await?;
    let server = identity.client()?;
    preflight::contact(&identity, &server).await?;
    let paths: BTreeMap<_, _> = folders
        .iter()
        .filter_map(|folder| Some((folder.version().parse().ok()?, folder.path().to_owned())))
        .collect();
    let mut seen = observe::observe(client, &server, &existing, &view, paths).await?;
    seen.takes_snapshot &= asked.etcd_snapshot;
    let is_older = |target: &KubernetesVersion| {
        seen.control_plane.as_ref().is_some_and(|found| found.version < *target)
    };
    if matches!(asked.aim, Aim::To(target) if is_older(target))
        && !asked.allow_removed_apis
        && seen.unavailable.is_none()
    {
        let kubeconfig = cluster::workload::kubeconfig(client, namespace, name).await?;
        let workload = kubeconfig.client()?;
        seen.removed_apis = removed::read(&workload)
            .await
            .map_err(|error| error.hint(format!("skip that check: {}", removed::FLAG)))?;
    }
    let planned = match asked.aim {
        Aim::To(target) => plan::plan(&seen, target),
        Aim::Back => rollback::plan(&seen),
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let image_servers = image_servers(&view);
    let pooled = seen.pools.iter().map(|pool| pool.replicas).sum();
    let known = watch::reached(&view, &watch::DesiredState::by(&view));
    let ready =
        Ready { plan, existing, identity, server, folders, runtime, image_servers, pooled, known };
    Ok(Ok(ready))
}

/// Directories from the option, the environment variable, or the default path.
async fn folders(
    context: &Context,
    asked: &Asked<'_>,
) -> Result<Vec<KubernetesDirectory>, CommandError> {
    let mut folders = Vec::new();
    for path in asked.binaries {
        folders.extend(images::binaries(context, Some(path)).await?);
    }
    if asked.binaries.is_empty() {
        folders.extend(images::binaries(context, None).await?);
    }
    Ok(folders)
}

/// Returns the image servers of a cluster, in the provider's format.
fn image_servers(view: &View) -> Vec<String> {
    let annotations = view.lxc_cluster.as_ref().and_then(|c| c.metadata.annotations.as_ref());
    let text = annotations.and_then(|all| all.get(capn_api::keys::IMAGE_SERVERS_ANNOTATION));
    let entries = text.map(String::as_str).unwrap_or_default().split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// Applies a plan.
async fn carry_out(
    ui: &Ui,
    client: &Client,
    asked: &Asked<'_>,
    ready: &Ready,
    keeper: &Keeper,
) -> Result<(), CommandError> {
    let plan = &ready.plan;
    let request = ready.existing.request.as_ref();
    if plan.steps.is_empty() {
        nothing(ui, asked, plan);
        return Ok(());
    }
    ui.say(show::summary(asked.name, plan));
    if let Some(note) = preflight::newer_than_known(&plan.to.to_string()) {
        ui.note(note);
    }
    if let Some(request) = request {
        // New machines exist alongside those that they replace.
        let others = u32::try_from(ready.pooled.saturating_add(space::beside(plan)));
        let workers = request.workers.saturating_add(others.unwrap_or(u32::MAX));
        let most = ClusterRequest { workers, ..request.clone() };
        let is_local = ready.identity.socket().is_some();
        preflight::isolated_ids(&ready.server, &most, is_local).await?;
    }
    // The way back makes no machine.
    if matches!(asked.aim, Aim::To(_)) {
        space::check(&ready.server, asked.namespace, asked.name, plan).await?;
    }
    let factor = request.map_or(1, |request| request.timeouts.factor());
    let machines = u32::try_from(plan.replacements()).unwrap_or(u32::MAX).max(1);
    let wait = asked.wait.unwrap_or(WAIT.saturating_mul(factor).saturating_mul(machines));
    let work = Work::new(ui, client, asked, ready, keeper, wait);
    if !work.run().await? {
        return Ok(());
    }
    if let Some(request) = request {
        let deadline = Deadline::after(if asked.wait.is_some() { wait } else { WAIT * factor });
        cluster::prove_services(ui, client, request, &ready.identity, deadline).await?;
    }
    ui.say(format!("cluster `{}` runs {}", asked.name, plan.to));
    Ok(())
}

#[cfg(test)]
mod tests;
