//! Executes the plan of a pool. Nothing else except `report` writes.

use capi_api::{Machine, MachinePool, labels};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};

use super::plan::{Action, Plan};
use crate::Context;
use crate::drive::Retry as _;
use crate::error::{Failure, describe};
use crate::owned_machines;
use crate::patch;

/// Executes a plan. Blockers that are found on the way are added to it.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is computed again from the new state. Returns
/// the updated pool, or `None` if this reconcile ends because the next one starts at once or the
/// pool is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut pool: MachinePool,
    plan: &mut Plan,
) -> Result<Option<MachinePool>, Failure> {
    let namespace = pool.namespace().unwrap_or_default();
    let api: Api<MachinePool> = Api::namespaced(ctx.client.clone(), &namespace);
    for action in &plan.actions {
        match action {
            Action::AddFinalizer => {
                patch::add_finalizer(&api, &pool, labels::MACHINE_POOL_FINALIZER).await?;
                return Ok(None);
            }
            Action::RemoveFinalizer => {
                patch::remove_finalizer(&api, &pool, labels::MACHINE_POOL_FINALIZER).await?;
                return Ok(None);
            }
            Action::Patch(change) => {
                pool = api
                    .patch(&pool.name_any(), &PatchParams::default(), &Patch::Merge(change))
                    .await
                    .map_err(Failure::api("patch", &pool))?;
            }
            Action::PatchExternal { object, change } => {
                patch::external(ctx, &namespace, object, change)
                    .await
                    .map_err(|source| Failure::Contract { object: describe(&pool), source })?;
            }
            Action::CreateMachine(machine) => {
                if !create(ctx, machine).await? {
                    plan.blocked.push(format!(
                        "Machine {} exists and does not belong to the pool: delete it",
                        machine.name_any()
                    ));
                }
            }
            Action::PatchMachine { name, change } => {
                let manager = labels::MANAGER_MACHINE_POOL;
                owned_machines::patch(ctx, manager, &namespace, name, change).await?;
            }
            Action::DeleteMachine(name) => owned_machines::delete(ctx, &namespace, name).await?,
            Action::DeleteExternal(reference) => {
                ctx.contracts
                    .delete(&namespace, reference)
                    .await
                    .map_err(|source| Failure::Contract { object: describe(&pool), source })?;
            }
        }
    }
    Ok(Some(pool))
}

/// Creates a Machine. Returns false if a Machine with this name exists, because the pool would
/// control it if it had created it.
async fn create(ctx: &Context, machine: &Machine) -> Result<bool, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    match owned_machines::create(ctx, labels::MANAGER_MACHINE_POOL, machine).await {
        Ok(_) => {
            ctx.full_namespaces.forget(&namespace);
            Ok(true)
        }
        Err(failure) if failure.is_conflict() => Ok(false),
        Err(failure) => Err(failure),
    }
}
