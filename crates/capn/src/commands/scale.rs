//! `capn scale`

use std::time::Duration;

use capi_api::{KubeadmControlPlane, MachineDeployment};
use clap::Args;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::manifest::ClusterRequest;
use crate::preflight;
use crate::session;
use crate::state::StateDir;
use crate::watch::{self, Asked, Deadline, Objects, Scope};

/// Options of `scale`.
#[derive(Clone, Debug, Args)]
pub struct ScaleArgs {
    /// Name of the cluster
    pub name: String,
    /// How many of what.
    #[command(flatten)]
    pub counts: Counts,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until the machines are there or gone
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    pub wait: Duration,
}

/// The numbers of machines; at least one of them has to be given.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Counts {
    /// Number of worker machines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=999))]
    pub workers: Option<u32>,
    /// Number of control plane machines; an odd number, since more than half of them have to
    /// agree
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub control_planes: Option<u32>,
}

pub(super) async fn run(context: &Context, args: ScaleArgs) -> Result<(), CommandError> {
    let ScaleArgs { name, counts: Counts { workers, control_planes }, namespace, wait } = args;
    let namespace = namespace.namespace;
    if let Some(wanted) = control_planes {
        preflight::control_planes(wanted)?;
    }
    let state = StateDir::of(context)?;
    let work = async |client: Client| {
        let existing = cluster::existing(&client, &namespace, &name).await?;
        let recorded = existing.request.as_ref();
        let deployment =
            recorded.map_or_else(|| format!("{name}-md-0"), |request| request.workers_name());
        // What is not scaled may be lost or fail; this command reports it and succeeds.
        let scope = Scope::Some {
            control_planes: control_planes.is_some(),
            deployment: workers.map(|_| deployment.clone()),
        };
        let before = scope.narrow(watch::read(&client, &namespace, &name).await);
        let known = watch::reached(&before, &Asked::by(&before));
        let was_available = watch::is_available(&before);
        if let (Some(recorded), Some(identity)) = (recorded, &existing.identity) {
            let wanted = ClusterRequest {
                control_planes: control_planes.unwrap_or(recorded.control_planes),
                workers: workers.unwrap_or(recorded.workers),
                ..recorded.clone()
            };
            let is_local = identity.socket().is_some();
            preflight::isolated_ids(&identity.client()?, &wanted, is_local).await?;
        }
        if let Some(wanted) = control_planes {
            let Some(found) = &before.control_plane else {
                return Err(CommandError::new(format!(
                    "cluster `{name}` has no KubeadmControlPlane: each of its control planes is a Machine of its own"
                ))
                .hint("`--control-planes` is for clusters whose nodes kubeadm makes"));
            };
            let object = found.meta().name.clone().unwrap_or_default();
            set_replicas::<KubeadmControlPlane>(&client, &namespace, &object, wanted).await?;
        }
        if let Some(wanted) = workers {
            set_replicas::<MachineDeployment>(&client, &namespace, &deployment, wanted).await?;
        }
        if wait.is_zero() {
            return Ok(());
        }
        let mut objects = Objects::of(&client, &namespace, &name).within(scope.clone());
        let deadline = Deadline::after(wait);
        let view = watch::follow_wanted(&context.ui, &mut objects, deadline, known).await?;
        let has = Asked::by(&view);
        // One that was available before is not the less so for what is scaled.
        if was_available {
            watch::settle(&context.ui, &mut objects, view, deadline).await;
        }
        let counted = [
            control_planes.map(|_| count(has.control_planes, "control plane")),
            workers.map(|_| count(has.workers, "worker")),
        ];
        let counted: Vec<String> = counted.into_iter().flatten().collect();
        context.ui.say(format!("cluster `{name}` has {}", counted.join(" and ")));
        let (_, others) = scope.split(watch::read(&client, &namespace, &name).await);
        if let Some((object, problem)) = watch::stuck(&others) {
            let hint = format!("see `capn describe cluster {name}`");
            context.ui.note(format!("{object} has a problem: {problem}; {hint}"));
        }
        Ok(())
    };
    let hint = "the number is recorded: the same command continues";
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

async fn set_replicas<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    replicas: u32,
) -> Result<(), CommandError>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .doing(format!("cannot change the {} `{name}`", K::kind(&())))
        .map(drop)
}
