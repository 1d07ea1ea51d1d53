//! Deleting a cluster with everything it has.

use std::time::Duration;

use capi_api::{
    Cluster, KubeadmConfig, KubeadmConfigTemplate, KubeadmControlPlane, Machine, MachineDeployment,
    MachineHealthCheck, MachineSet, labels,
};
use capn_api::keys;
use capn_api::{LXCCluster, LXCMachine, LXCMachineTemplate};
use incus_client::api::InstanceFilter;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::existing::identity_in;
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::identity::Identity;
use crate::power::{self, Stopped};
use crate::state::StateDir;
use crate::watch::{self, Deadline, Objects};

/// Deletes the cluster and waits until nothing of it is left. False if there was nothing.
///
/// Idempotent: what an interrupted deletion left is deleted by the next.
///
/// # Errors
///
/// When something is left at the deadline.
pub async fn remove(
    context: &Context,
    client: &Client,
    state: &StateDir,
    namespace: &str,
    name: &str,
    wait: Duration,
) -> Result<bool, CommandError> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let cluster = clusters.get_opt(name).await.doing(format!("cannot look up cluster `{name}`"))?;
    let identity = identity_of(client, namespace, name, cluster.as_ref()).await?;
    let mut found = cluster.is_some();
    let stopped = cluster.as_ref().and_then(Stopped::of);
    let is_paused = cluster.as_ref().is_some_and(|cluster| cluster.spec.paused == Some(true));
    if is_paused && stopped != Some(Stopped::Running) {
        return Err(CommandError::new("it is paused, so it is not deleted")
            .hint(format!("resume it first: `capn resume {name}`")));
    }
    if cluster.is_some() {
        delete_one(&clusters, name).await?;
        if let Some(before) = stopped {
            // Not before it is being deleted: nobody is to start its instances for that.
            power::forget(client, namespace, name, before).await?;
        }
    } else {
        found |= sweep_controlled(client, namespace, name).await?;
    }
    if found {
        let mut objects = Objects::of(client, namespace, name);
        watch::follow_removal(&context.ui, &mut objects, Deadline::after(wait)).await?;
    }
    found |= sweep(client, namespace, name).await?;
    if let Some(identity) = &identity {
        nothing_left(identity, namespace, name).await?;
    }
    let kubeconfig = state.cluster_kubeconfig(name);
    match std::fs::remove_file(&kubeconfig) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).doing(format!("cannot remove {kubeconfig}")),
    }
    Ok(found)
}

/// How the server of a cluster is reached, if that can still be said.
async fn identity_of(
    client: &Client,
    namespace: &str,
    name: &str,
    cluster: Option<&Cluster>,
) -> Result<Option<Identity>, CommandError> {
    let doing = || format!("cannot look up how the server of cluster `{name}` is reached");
    let infrastructure = cluster
        .and_then(|cluster| cluster.spec.infrastructure_ref.as_ref())
        .map_or(name, |reference| reference.name.as_str());
    let lxc_clusters: Api<LXCCluster> = Api::namespaced(client.clone(), namespace);
    let lxc_cluster = lxc_clusters.get_opt(infrastructure).await.doing(doing())?;
    let secret_name = match lxc_cluster {
        Some(lxc_cluster) if !lxc_cluster.spec.secret_ref.is_empty() => {
            lxc_cluster.spec.secret_ref.name
        }
        _ => format!("{name}-incus"),
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    Ok(secrets.get_opt(&secret_name).await.doing(doing())?.as_ref().and_then(identity_in))
}

/// Deletes objects that controllers have to take apart, of a cluster without a Cluster.
async fn sweep_controlled(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<bool, CommandError> {
    let mut found = sweep_kind::<MachineDeployment>(client, namespace, name).await?;
    found |= sweep_kind::<KubeadmControlPlane>(client, namespace, name).await?;
    found |= sweep_kind::<MachineSet>(client, namespace, name).await?;
    found |= sweep_kind::<Machine>(client, namespace, name).await?;
    found |= sweep_kind::<LXCMachine>(client, namespace, name).await?;
    found |= sweep_kind::<LXCCluster>(client, namespace, name).await?;
    Ok(found)
}

/// Deletes what nobody takes apart: templates, and Secrets once nothing needs them.
async fn sweep(client: &Client, namespace: &str, name: &str) -> Result<bool, CommandError> {
    let mut found = sweep_kind::<MachineHealthCheck>(client, namespace, name).await?;
    found |= sweep_kind::<KubeadmConfig>(client, namespace, name).await?;
    found |= sweep_kind::<KubeadmConfigTemplate>(client, namespace, name).await?;
    found |= sweep_kind::<LXCMachineTemplate>(client, namespace, name).await?;
    found |= sweep_kind::<ConfigMap>(client, namespace, name).await?;
    found |= sweep_kind::<Secret>(client, namespace, name).await?;
    Ok(found)
}

async fn sweep_kind<K>(client: &Client, namespace: &str, name: &str) -> Result<bool, CommandError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={name}", labels::CLUSTER_NAME));
    let list = api
        .list_metadata(&params)
        .await
        .doing(format!("cannot list what is left of cluster `{name}`"))?;
    for object in &list.items {
        delete_one(&api, &object.name_any()).await?;
    }
    Ok(!list.items.is_empty())
}

async fn delete_one<K>(api: &Api<K>, name: &str) -> Result<(), CommandError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => {
            Err(CommandError::caused(format!("cannot delete {} `{name}`", K::kind(&())), error))
        }
    }
}

/// Asks the server itself whether an instance of the cluster is left.
async fn nothing_left(
    identity: &Identity,
    namespace: &str,
    name: &str,
) -> Result<(), CommandError> {
    let filter = InstanceFilter::new()
        .config(keys::INSTANCE_CLUSTER_NAME, name)
        .config(keys::INSTANCE_CLUSTER_NAMESPACE, namespace);
    let left: Vec<String> = identity
        .client()?
        .instances(&filter)
        .await
        .map_err(|error| {
            CommandError::caused("cannot ask the server whether an instance is left", error)
        })?
        .into_iter()
        .map(|instance| instance.name)
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "the cluster is deleted, but the server has instances that carry its name: {}",
        left.join(", ")
    ))
    .hint("they were not made by this plane, so they are left alone")
    .hint(format!("if nobody needs them: `incus delete --force {}`", left.join(" "))))
}
