//! Executes the plan of a cluster. Nothing else except `report` writes.

use capi_api::{Cluster, Machine, MachineDeployment, MachinePool, MachineSet, labels};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::observe::Observed;
use super::plan::{Action, Plan, Target};
use crate::Context;
use crate::error::{Failure, describe, is_not_found};
use crate::kubeconfig;
use crate::nodes::ClusterKey;
use crate::objects::plain_owner;
use crate::patch;

/// Executes a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is computed again from the new state. Returns
/// the resulting cluster, or `None` if this reconcile ends because the next one starts at once or
/// the cluster is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut cluster: Cluster,
    observed: &Observed,
    plan: &Plan,
) -> Result<Option<Cluster>, Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    for action in &plan.actions {
        match action {
            Action::AddFinalizer => {
                patch::add_finalizer(&api, &cluster, labels::CLUSTER_FINALIZER).await?;
                return Ok(None);
            }
            Action::RemoveFinalizer => {
                ctx.nodes.stop(&ClusterKey::of(&cluster));
                patch::remove_finalizer(&api, &cluster, labels::CLUSTER_FINALIZER).await?;
                return Ok(None);
            }
            Action::Own { object, owners, resource_version } => {
                let labels = [(labels::CLUSTER_NAME.to_owned(), cluster.name_any())].into();
                let change =
                    patch::ownership(owners.as_ref(), &labels, resource_version.as_deref());
                let namespace = cluster.namespace().unwrap_or_default();
                patch::external(ctx, &namespace, object, &change)
                    .await
                    .map_err(|source| Failure::Contract { object: describe(&cluster), source })?;
            }
            Action::SetEndpoint(endpoint) => {
                let change = json!({
                    "metadata": { "resourceVersion": cluster.resource_version() },
                    "spec": { "controlPlaneEndpoint": endpoint },
                });
                cluster = api
                    .patch(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(&change))
                    .await
                    .map_err(Failure::api("patch", &cluster))?;
            }
            Action::WriteKubeconfig => write_kubeconfig(ctx, &cluster, observed).await?,
            Action::Delete(target) => delete(ctx, &cluster, target).await?,
        }
    }
    Ok(Some(cluster))
}

async fn write_kubeconfig(
    ctx: &Context,
    cluster: &Cluster,
    observed: &Observed,
) -> Result<(), Failure> {
    let access = observed.access.as_ref();
    let authority = access.and_then(|access| access.authority.as_ref());
    let (Some(endpoint), Some(authority), Some(owner)) =
        (cluster.endpoint(), authority, plain_owner(cluster))
    else {
        return Ok(());
    };
    let existing = access.and_then(|access| access.kubeconfig.as_ref());
    kubeconfig::write(ctx, cluster, existing, authority, endpoint, owner).await
}

async fn delete(ctx: &Context, cluster: &Cluster, target: &Target) -> Result<(), Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    match target {
        Target::Machine(name) => delete_named::<Machine>(ctx, &namespace, name).await,
        Target::MachineSet(name) => delete_named::<MachineSet>(ctx, &namespace, name).await,
        Target::MachineDeployment(name) => {
            delete_named::<MachineDeployment>(ctx, &namespace, name).await
        }
        Target::MachinePool(name) => delete_named::<MachinePool>(ctx, &namespace, name).await,
        Target::External(reference) => {
            tracing::info!(cluster = cluster.name_any(), object = %reference, "delete");
            ctx.contracts
                .delete(&namespace, reference)
                .await
                .map_err(|source| Failure::Contract { object: describe(cluster), source })
        }
    }
}

async fn delete_named<K>(ctx: &Context, namespace: &str, name: &str) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    tracing::info!(namespace, kind = %K::kind(&()), name, "delete");
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Failure::api_named("delete", &K::kind(&()), namespace, name)(error)),
    }
}
