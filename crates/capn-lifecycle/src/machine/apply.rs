//! Executes the plan of a machine. Nothing else except `report` writes.

use std::time::Duration;

use capi_api::{Cluster, Machine, labels};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};

use super::evict::{self, DrainBlockers};
use super::observe::Observed;
use super::plan::{Action, Plan};
use crate::Context;
use crate::error::{Failure, chain, describe, is_not_found};
use crate::patch;
use crate::workload::{self, answer};

/// Timeout for a request to a workload cluster.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Result of a plan.
pub(super) struct Applied {
    /// The updated machine.
    pub(super) machine: Machine,
    /// Everything that blocks the drain.
    pub(super) blockers: DrainBlockers,
}

/// Executes a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is computed again from the new state. Returns
/// `None` if this reconcile ends because the next one starts at once or the machine is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut machine: Machine,
    observed: &Observed,
    plan: &Plan,
) -> Result<Option<Applied>, Failure> {
    let mut blockers = DrainBlockers::default();
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
                let nodes: Api<Node> = Api::all(workload(ctx, &machine, observed).await?);
                let params = PatchParams::default();
                ask(&machine, "patch the node", nodes.patch(name, &params, &Patch::Merge(change)))
                    .await?;
            }
            Action::Cordon { node } => {
                if let Err(met) = evict::cordon(ctx, &machine, observed, node).await {
                    // Its pods would return to it.
                    return Ok(Some(Applied { machine, blockers: met }));
                }
            }
            Action::Evict { pods } => {
                blockers = evict::evict(ctx, &machine, observed, pods).await;
            }
            Action::DeleteNode { name, give_up } => {
                delete_node(ctx, &machine, observed, name, *give_up).await?;
            }
        }
    }
    Ok(Some(Applied { machine, blockers }))
}

pub(super) async fn workload(
    ctx: &Context,
    machine: &Machine,
    observed: &Observed,
) -> Result<Client, Failure> {
    let cluster: &Cluster = observed.cluster.as_ref().ok_or_else(|| Failure::Invalid {
        object: describe(machine),
        problem: format!("the cluster {} does not exist", machine.spec.cluster_name),
    })?;
    workload::client(ctx, cluster)
        .await
        .map_err(|source| Failure::Workload { object: describe(cluster), source })
}

/// Sends a request to the workload cluster, with a short timeout. A missing object is not an error.
pub(super) async fn ask<T>(
    machine: &Machine,
    act: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<(), Failure> {
    match answer(act, ANSWER_WITHIN, request).await {
        Ok(_) => Ok(()),
        Err(workload::Error::Request { source, .. }) if is_not_found(&source) => Ok(()),
        Err(source) => Err(Failure::Workload { object: describe(machine), source }),
    }
}

async fn delete_node(
    ctx: &Context,
    machine: &Machine,
    observed: &Observed,
    name: &str,
    give_up: bool,
) -> Result<(), Failure> {
    let result = async {
        let nodes: Api<Node> = Api::all(workload(ctx, machine, observed).await?);
        ask(machine, "delete the node", nodes.delete(name, &DeleteParams::default())).await
    }
    .await;
    match result {
        Err(error) if give_up => {
            tracing::warn!(
                machine = machine.name_any(),
                node = name,
                error = chain(&error),
                "leaving the Node object behind: it could not be deleted in time"
            );
            Ok(())
        }
        other => other,
    }
}
