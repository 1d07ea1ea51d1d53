//! `capn delete pool`

use std::time::Duration;

use capi_api::{Cluster, KubeadmConfigTemplate, MachineDeployment, MachineHealthCheck, labels};
use capn_api::LXCMachineTemplate;
use clap::Args;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::at_work;
use crate::Context;
use crate::cluster::{self, pools};
use crate::commands::{NamespaceArg, duration};
use crate::error::{CommandError, Doing as _};
use crate::exit::Exit;
use crate::manifest::{ClusterRequest, REQUEST_ANNOTATION, deployment_name};
use crate::session;
use crate::state::StateDir;
use crate::watch::{self, Deadline, Objects, Scope};

/// Options of `delete pool`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Its nodes are drained first.\n\nExample:\n  capn delete pool gpu --cluster demo"
)]
pub struct DeletePoolArgs {
    /// Name of the pool
    pub name: String,
    /// Cluster that the pool belongs to
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: String,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until its machines are deleted
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub wait: Duration,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: DeletePoolArgs,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let namespace = args.namespace.namespace.as_str();
    let (cluster, name) = (args.cluster.as_str(), args.name.as_str());
    let work = async |client: Client| remove(context, &client, &args).await;
    session::on_cluster(&state, namespace, false, "", work).await.map_err(|error| {
        let again = format!("capn delete pool {name} --cluster {cluster}");
        match error.exit() {
            Exit::Usage => error,
            Exit::Interrupted => error.hint(format!("to delete the rest: `{again}`")),
            _ => error
                .while_doing(format!("cannot delete pool `{name}` of cluster `{cluster}`"))
                .hint(format!("see what blocks it: `capn describe cluster {cluster}`")),
        }
    })
}

async fn remove(
    context: &Context,
    client: &Client,
    args: &DeletePoolArgs,
) -> Result<(), CommandError> {
    let namespace = args.namespace.namespace.as_str();
    let (cluster, name) = (args.cluster.as_str(), args.name.as_str());
    let existing = cluster::existing(client, namespace, cluster).await?;
    at_work(&existing, cluster)?;
    let deployments = pools::deployments(client, namespace, cluster).await?;
    let own_name = deployment_name(cluster, name);
    let is = |found: &&MachineDeployment| {
        let found = found.name_any();
        found == own_name || found == name
    };
    let found = deployments.iter().find(is);
    let object = found.map_or(own_name, |found| found.name_any());
    // An upgrade may have created templates with other names.
    let references = found.map(references).unwrap_or_default();
    let mut was_there = found.is_some();
    // Removed from the recorded request first, so that no command recreates it during deletion.
    was_there |= forget(client, namespace, cluster, name).await?;
    if let Some(found) = found {
        let api: Api<MachineDeployment> = Api::namespaced(client.clone(), namespace);
        cluster::delete_one(&api, &found.name_any()).await?;
    }
    let deployments = vec![object.clone()];
    let scope = Scope::Some { control_planes: false, deployments };
    let mut objects = Objects::of(client, namespace, cluster).within(scope);
    let deadline = Deadline::after(args.wait);
    watch::follow_removal_of_pools(&context.ui, &mut objects, deadline).await?;
    for name in references.iter().chain([&object]) {
        was_there |= sweep(client, namespace, cluster, name).await?;
    }
    match was_there {
        true => context.ui.say(format!("pool `{name}` of cluster `{cluster}` is deleted")),
        false => {
            let known = pools::deployments(client, namespace, cluster).await?;
            let names: Vec<String> =
                known.iter().map(|found| pools::shown(cluster, &found.name_any())).collect();
            context.ui.say(format!(
                "cluster `{cluster}` has no pool `{name}`: nothing to delete (existing pools: {})",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ));
        }
    }
    Ok(())
}

/// Returns the template names of a MachineDeployment.
fn references(deployment: &MachineDeployment) -> Vec<String> {
    let spec = &deployment.spec.template.spec;
    let of_nodes = spec.bootstrap.config_ref.as_ref().map(|reference| reference.name.clone());
    of_nodes.into_iter().chain([spec.infrastructure_ref.name.clone()]).collect()
}

/// Removes a pool from the recorded request. Returns whether it was there.
async fn forget(
    client: &Client,
    namespace: &str,
    cluster: &str,
    pool: &str,
) -> Result<bool, CommandError> {
    let doing = || format!("cannot change the Cluster `{cluster}`");
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let found = clusters.get(cluster).await.doing(doing())?;
    let Some(recorded) = found.annotations().get(REQUEST_ANNOTATION) else { return Ok(false) };
    let request: ClusterRequest = serde_json::from_str(recorded).doing(doing())?;
    let mut pools = request.pools();
    let before = pools.len();
    pools.retain(|known| known.name != pool);
    if pools.len() == before {
        return Ok(false);
    }
    let text = serde_json::to_string(&request.with_pools(pools)).doing(doing())?;
    let patch = Patch::Merge(json!({ "metadata": {
        // The annotation is replaced as a whole, so the object must not have changed meanwhile.
        "resourceVersion": found.resource_version(),
        "annotations": { REQUEST_ANNOTATION: text },
    } }));
    clusters.patch(cluster, &PatchParams::default(), &patch).await.doing(doing())?;
    Ok(true)
}

/// Deletes the objects that no controller deletes: the templates and the health check of a pool.
async fn sweep(
    client: &Client,
    namespace: &str,
    cluster: &str,
    name: &str,
) -> Result<bool, CommandError> {
    let mut found = sweep_one::<MachineHealthCheck>(client, namespace, cluster, name).await?;
    found |= sweep_one::<KubeadmConfigTemplate>(client, namespace, cluster, name).await?;
    found |= sweep_one::<LXCMachineTemplate>(client, namespace, cluster, name).await?;
    Ok(found)
}

async fn sweep_one<K>(
    client: &Client,
    namespace: &str,
    cluster: &str,
    name: &str,
) -> Result<bool, CommandError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.get_metadata_opt(name).await;
    let found = found.doing(format!("cannot look up the {} `{name}`", K::kind(&())))?;
    let is_ours = found.is_some_and(|found| {
        found.labels().get(labels::CLUSTER_NAME).is_some_and(|of| of == cluster)
    });
    if is_ours {
        cluster::delete_one(&api, name).await?;
    }
    Ok(is_ours)
}
