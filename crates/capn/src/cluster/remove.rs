//! Deletes a cluster with all its resources.

use std::time::Duration;

use capi_api::{
    Cluster, KubeadmConfig, KubeadmConfigTemplate, KubeadmControlPlane, Machine, MachineDeployment,
    MachineHealthCheck, MachinePool, MachineSet, labels,
};
use capn_api::keys;
use capn_api::{LXCCluster, LXCMachine, LXCMachinePool, LXCMachineTemplate};
use incus_client::api::InstanceFilter;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::existing::identity_in;
use super::force;
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::identity::Identity;
use crate::kubeconfig;
use crate::power::{self, Stopped};
use crate::state::StateDir;
use crate::trust;

/// A cluster to delete.
#[derive(Clone, Copy, Debug)]
pub struct Removal<'a> {
    /// Namespace of the cluster.
    pub namespace: &'a str,
    /// Name of the cluster.
    pub name: &'a str,
    /// Time limit.
    pub wait: Duration,
    /// Whether resources that the server does not release in time are left behind and reported.
    pub force: bool,
}

/// Deletes the cluster and waits until nothing of it is left. Returns false if it did not exist.
///
/// Idempotent: finishes an interrupted deletion.
///
/// # Errors
///
/// Returns an error if something is left at the deadline. With `force`, only resources on the
/// server may be left.
pub async fn remove(
    context: &Context,
    client: &Client,
    state: &StateDir,
    removal: Removal<'_>,
) -> Result<bool, CommandError> {
    let Removal { namespace, name, .. } = removal;
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
            // Only after deletion was requested, so that nothing restarts its instances meanwhile.
            power::forget(client, namespace, name, before).await?;
        }
    } else {
        found |= sweep_controlled(client, namespace, name).await?;
    }
    let mut left = Vec::new();
    if found {
        left = force::follow(&context.ui, client, removal, identity.as_ref()).await?;
    }
    found |= sweep(client, namespace, name).await?;
    let file = state.cluster_kubeconfig(namespace, name);
    match std::fs::remove_file(&file) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).doing(format!("cannot remove {file}")),
    }
    kubeconfig::forget(&context.ui, state, namespace, name)?;
    match (left.as_slice(), &identity) {
        ([], Some(identity)) => match nothing_left(identity, namespace, name).await {
            // Nothing known to this plane is left on the server.
            Err(error) if removal.force => context.ui.note(error.to_string()),
            checked => checked?,
        },
        ([], None) => {}
        (left, identity) => return Err(force::left(removal, identity.as_ref(), left)),
    }
    Ok(found)
}

/// Returns the identity for the cluster's server, if it can still be determined.
async fn identity_of(
    client: &Client,
    namespace: &str,
    name: &str,
    cluster: Option<&Cluster>,
) -> Result<Option<Identity>, CommandError> {
    let doing = || format!("cannot look up the server identity of cluster `{name}`");
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
    let Some(secret) = secrets.get_opt(&secret_name).await.doing(doing())? else { return Ok(None) };
    Ok(identity_in(&secret, trust::reach(client, namespace).await?))
}

/// Deletes objects that need controllers to finalize them, for a cluster whose Cluster object is
/// gone.
async fn sweep_controlled(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<bool, CommandError> {
    let mut found = sweep_kind::<MachineDeployment>(client, namespace, name).await?;
    found |= sweep_kind::<MachinePool>(client, namespace, name).await?;
    found |= sweep_kind::<KubeadmControlPlane>(client, namespace, name).await?;
    found |= sweep_kind::<MachineSet>(client, namespace, name).await?;
    found |= sweep_kind::<Machine>(client, namespace, name).await?;
    found |= sweep_kind::<LXCMachine>(client, namespace, name).await?;
    found |= sweep_kind::<LXCCluster>(client, namespace, name).await?;
    Ok(found)
}

/// Deletes objects without controllers: templates, and Secrets once they are unused.
async fn sweep(client: &Client, namespace: &str, name: &str) -> Result<bool, CommandError> {
    let mut found = sweep_kind::<MachineHealthCheck>(client, namespace, name).await?;
    found |= sweep_kind::<LXCMachinePool>(client, namespace, name).await?;
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
        .doing(format!("cannot list remaining objects of cluster `{name}`"))?;
    for object in &list.items {
        delete_one(&api, &object.name_any()).await?;
    }
    Ok(!list.items.is_empty())
}

/// Deletes an object and its dependents. Succeeds if it is gone.
///
/// # Errors
///
/// Returns an error if the plane refused the change.
pub async fn delete_one<K>(api: &Api<K>, name: &str) -> Result<(), CommandError>
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

/// Checks on the server that no instance of the cluster is left.
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
        .map_err(|error| CommandError::caused("cannot list instances on the server", error))?
        .into_iter()
        .map(|instance| instance.name)
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let project = identity
        .project
        .as_ref()
        .map(|project| format!(" --project {}", crate::identity::word(project)));
    Err(CommandError::new(format!(
        "the cluster is deleted, but {} still has instances with its name: {}",
        identity.shown(),
        left.join(", ")
    ))
    .hint("they were not created by this plane, so they are not deleted")
    .hint(format!("find their owner: `capn doctor --orphans{}`", project.unwrap_or_default())))
}
