//! Carries out what was decided about a machine. The only writer besides `report`.

use std::time::Duration;

use capi_api::{Cluster, Machine, labels};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};

use super::evict::{self, Obstacles};
use super::observe::Observed;
use super::plan::{Action, Plan};
use crate::Context;
use crate::error::{Failure, chain, describe, is_not_found};
use crate::patch;
use crate::workload::{self, answer};

/// How long a workload cluster may take for an answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What came of a plan.
pub(super) struct Applied {
    /// The machine as it is afterwards.
    pub(super) machine: Machine,
    /// What stands in the way of its drain.
    pub(super) obstacles: Obstacles,
}

/// Carries out a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is made again from what is then observed.
/// Returns `None` if the pass ends here because the next one starts at once or the machine is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut machine: Machine,
    seen: &Observed,
    plan: &Plan,
) -> Result<Option<Applied>, Failure> {
    let mut obstacles = Obstacles::default();
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
                let params = PatchParams::default();
                ask(&machine, "patch the node", nodes.patch(name, &params, &Patch::Merge(change)))
                    .await?;
            }
            Action::Cordon { node } => {
                if let Err(met) = evict::cordon(ctx, &machine, seen, node).await {
                    // Its pods would come back to it.
                    return Ok(Some(Applied { machine, obstacles: met }));
                }
            }
            Action::Evict { pods } => {
                obstacles = evict::evict(ctx, &machine, seen, pods).await;
            }
            Action::DeleteNode { name, give_up } => {
                delete_node(ctx, &machine, seen, name, *give_up).await?;
            }
        }
    }
    Ok(Some(Applied { machine, obstacles }))
}

pub(super) async fn workload(
    ctx: &Context,
    machine: &Machine,
    seen: &Observed,
) -> Result<Client, Failure> {
    let cluster: &Cluster = seen.cluster.as_ref().ok_or_else(|| Failure::Invalid {
        object: describe(machine),
        problem: format!("the cluster {} does not exist", machine.spec.cluster_name),
    })?;
    workload::client(ctx, cluster)
        .await
        .map_err(|source| Failure::Workload { object: describe(cluster), source })
}

/// Asks the workload cluster for something, but does not wait for long. What is not there (any
/// more) is fine.
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
    seen: &Observed,
    name: &str,
    give_up: bool,
) -> Result<(), Failure> {
    let result = async {
        let nodes: Api<Node> = Api::all(workload(ctx, machine, seen).await?);
        ask(machine, "delete the node", nodes.delete(name, &DeleteParams::default())).await
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
