//! `capn scale`

use std::time::Duration;

use capi_api::{KubeadmControlPlane, MachineDeployment};
use clap::Args;
use kube::{Client, ResourceExt as _};

use super::{NamespaceArg, duration};
use crate::Context;
use crate::cluster::{self, pools};
use crate::error::CommandError;
use crate::manifest::ClusterRequest;
use crate::preflight;
use crate::session;
use crate::state::StateDir;
use crate::watch::{self, Deadline, DesiredState, Objects, Scope};

/// Options of `scale`.
#[derive(Clone, Debug, Args)]
pub struct ScaleArgs {
    /// Name of the cluster
    pub name: String,
    /// The new counts.
    #[command(flatten)]
    pub counts: Counts,
    /// Pool that `--workers` applies to [default: md-0, or the only pool]
    #[arg(long, value_name = "POOL", requires = "workers")]
    pub pool: Option<String>,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until machines are added or deleted
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    pub wait: Duration,
}

/// Machine counts. At least one is required.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Counts {
    /// Number of worker machines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=999))]
    pub workers: Option<u32>,
    /// Number of control plane machines; must be odd, since etcd needs a majority
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub control_planes: Option<u32>,
}

pub(super) async fn run(context: &Context, args: ScaleArgs) -> Result<(), CommandError> {
    let ScaleArgs { name, counts, pool, namespace, wait } = args;
    let Counts { workers, control_planes } = counts;
    let namespace = namespace.namespace;
    if let Some(wanted) = control_planes {
        preflight::control_planes(wanted)?;
    }
    let state = StateDir::of(context)?;
    let work = async |client: Client| {
        let existing = cluster::existing(&client, &namespace, &name).await?;
        let recorded = existing.request.as_ref();
        let deployments = pools::deployments(&client, &namespace, &name).await?;
        let deployment = match workers {
            Some(_) => Some(pools::pick(&deployments, &name, pool.as_deref())?),
            None => None,
        };
        // Machines outside the scope may be lost or fail; this command reports them and still
        // succeeds.
        let scope = Scope::Some {
            control_planes: control_planes.is_some(),
            deployments: deployment.iter().map(|one| one.name.clone()).collect(),
        };
        let before = scope.narrow(watch::read(&client, &namespace, &name).await);
        let known = watch::reached(&before, &DesiredState::by(&before));
        let was_available = watch::is_available(&before);
        if let (Some(recorded), Some(identity)) = (recorded, &existing.identity) {
            let scaled = deployment.as_ref().zip(workers);
            let more = scaled.map_or(0, |(one, wanted)| wanted.saturating_sub(one.replicas));
            let wanted = ClusterRequest {
                control_planes: control_planes.unwrap_or(recorded.control_planes),
                workers: recorded.workers.saturating_add(more),
                ..recorded.clone()
            };
            let is_local = identity.socket().is_some();
            preflight::isolated_ids(&identity.client()?, &wanted, is_local).await?;
        }
        if let Some(wanted) = control_planes {
            let Some(found) = &before.control_plane else {
                return Err(CommandError::new(format!(
                    "cluster `{name}` has no KubeadmControlPlane: its control planes are standalone Machines"
                ))
                .hint("`--control-planes` requires a cluster with `--bootstrap kubeadm`"));
            };
            let object = found.name_any();
            pools::set_replicas::<KubeadmControlPlane>(&client, &namespace, &object, wanted)
                .await?;
        }
        if let (Some(one), Some(wanted)) = (&deployment, workers) {
            let object = &one.name;
            pools::set_replicas::<MachineDeployment>(&client, &namespace, object, wanted).await?;
        }
        if wait.is_zero() {
            return Ok(());
        }
        let mut objects = Objects::of(&client, &namespace, &name).within(scope.clone());
        let deadline = Deadline::after(wait);
        let view = watch::follow_wanted(&context.ui, &mut objects, deadline, known).await?;
        let has = DesiredState::by(&view);
        // A cluster that was available stays available while it is scaled.
        if was_available {
            watch::settle(&context.ui, &mut objects, view, deadline).await;
        }
        let counted = [
            control_planes.map(|_| count(has.control_planes, "control plane")),
            workers.map(|_| count(has.all_workers(), "worker")),
        ];
        let counted: Vec<String> = counted.into_iter().flatten().collect();
        let of_pool = pool.map(|pool| format!(" in pool `{pool}`")).unwrap_or_default();
        context.ui.say(format!("cluster `{name}` has {}{of_pool}", counted.join(" and ")));
        let (_, others) = scope.split(watch::read(&client, &namespace, &name).await);
        if let Some((object, problem)) = watch::stuck(&others) {
            let hint = format!("see `capn describe cluster {name}`");
            context.ui.note(format!("{object} has a problem: {problem}; {hint}"));
        }
        Ok(())
    };
    let hint = "the number is recorded; run the same command again to continue";
    session::on_cluster(&state, &namespace, false, hint, work)
        .await
        .map_err(|error| error.while_doing(format!("cannot scale cluster `{name}`")))
}

fn count(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}
