//! Carries out what was decided about a machine. The only writer besides `report`.

use capi_api::{Cluster, Machine, labels};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::observe::Observed;
use super::plan::{Action, Evict, Plan};
use crate::Context;
use crate::error::{Failure, chain, describe, is_not_found};
use crate::patch;

/// Carries out a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is made again from what is then observed.
/// Returns the machine as it is afterwards, or `None` if the pass ends here because the next one
/// starts at once or the machine is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut machine: Machine,
    seen: &Observed,
    plan: &Plan,
) -> Result<Option<Machine>, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    for action in &plan.actions {
        match action {
            Action::AddFinalizer => {
                patch::add_finalizer(&api, &machine, labels::MACHINE_FINALIZER).await?;
                return Ok(None);
            }
            Action::RemoveFinalizer => {
                patch::remove_finalizer(&api, &machine, labels::MACHINE_FINALIZER).await?;
                return Ok(None);
            }
            Action::Patch(change) => {
                machine = api
                    .patch(&machine.name_any(), &PatchParams::default(), &Patch::Merge(change))
                    .await
                    .map_err(Failure::api("patch", &machine))?;
            }
            Action::PatchExternal { object, change } => {
                patch::external(ctx, &namespace, object, change)
                    .await
                    .map_err(|source| Failure::Contract { object: describe(&machine), source })?;
            }
            Action::DeleteExternal(reference) => {
                tracing::info!(machine = machine.name_any(), object = %reference, "delete");
                ctx.contracts
                    .delete(&namespace, reference)
                    .await
                    .map_err(|source| Failure::Contract { object: describe(&machine), source })?;
            }
            Action::PatchNode { name, change } => {
                let nodes: Api<Node> = Api::all(workload(ctx, &machine, seen).await?);
                patch_node(&nodes, name, change).await?;
            }
            Action::Cordon { node } => {
                let nodes: Api<Node> = Api::all(workload(ctx, &machine, seen).await?);
                let change = json!({ "spec": { "unschedulable": true } });
                patch_node(&nodes, node, &change).await?;
            }
            Action::Evict { pods } => {
                let client = workload(ctx, &machine, seen).await?;
                for pod in pods {
                    evict(&client, pod).await?;
                }
            }
            Action::DeleteNode { name, give_up } => {
                delete_node(ctx, &machine, seen, name, *give_up).await?;
            }
        }
    }
    Ok(Some(machine))
}

async fn workload(ctx: &Context, machine: &Machine, seen: &Observed) -> Result<Client, Failure> {
    let cluster: &Cluster = seen.cluster.as_ref().ok_or_else(|| Failure::Invalid {
        object: describe(machine),
        problem: format!("the cluster {} does not exist", machine.spec.cluster_name),
    })?;
    crate::workload::client(ctx, cluster)
        .await
        .map_err(|source| Failure::Workload { object: describe(cluster), source })
}

/// A node that is gone needs no patch.
async fn patch_node(
    nodes: &Api<Node>,
    name: &str,
    change: &serde_json::Value,
) -> Result<(), Failure> {
    match nodes.patch(name, &PatchParams::default(), &Patch::Merge(change)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Failure::api_named("patch", "Node", "", name)(error)),
    }
}

/// Asks one pod to leave. A disruption budget that forbids it now (429) is no failure: the pod is
/// asked again with the next pass.
async fn evict(client: &Client, pod: &Evict) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let params = EvictParams {
        delete_options: pod.grace_period_seconds.map(|seconds| DeleteParams {
            grace_period_seconds: Some(seconds),
            ..DeleteParams::default()
        }),
        ..EvictParams::default()
    };
    match pods.evict(&pod.name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(()),
        Err(error) => Err(Failure::api_named("evict", "Pod", &pod.namespace, &pod.name)(error)),
    }
}

async fn delete_node(
    ctx: &Context,
    machine: &Machine,
    seen: &Observed,
    name: &str,
    give_up: bool,
) -> Result<(), Failure> {
    let result = async {
        let nodes: Api<Node> = Api::all(workload(ctx, machine, seen).await?);
        match nodes.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(Failure::api_named("delete", "Node", "", name)(error)),
        }
    }
    .await;
    match result {
        Err(error) if give_up => {
            tracing::warn!(
                machine = machine.name_any(),
                node = name,
                error = chain(&error),
                "the node object is left behind: it could not be deleted in time"
            );
            Ok(())
        }
        other => other,
    }
}
