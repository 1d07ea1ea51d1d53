//! Executes the plan of a set. Nothing else except `report` writes.

use capi_api::conditions::{self, Conditions, Status};
use capi_api::{Machine, MachineSet, labels};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::create::create;
use super::observe::Observed;
use super::plan::{Action, Plan};
use crate::Context;
use crate::error::{Failure, describe};
use crate::owned_machines;
use crate::patch;

/// Executes a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is computed again from the new state. Returns
/// the updated set and its machines, or `None` if this reconcile ends because the next one starts
/// at once or the set is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut set: MachineSet,
    observed: &Observed,
    plan: &Plan,
) -> Result<Option<(MachineSet, Vec<Machine>)>, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<MachineSet> = Api::namespaced(ctx.client.clone(), &namespace);
    let mut machines = observed.machines.clone();
    for action in &plan.actions {
        match action {
            Action::AddFinalizer => {
                patch::add_finalizer(&api, &set, labels::MACHINE_SET_FINALIZER).await?;
                return Ok(None);
            }
            Action::RemoveFinalizer => {
                patch::remove_finalizer(&api, &set, labels::MACHINE_SET_FINALIZER).await?;
                return Ok(None);
            }
            Action::Patch(change) => {
                set = api
                    .patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(change))
                    .await
                    .map_err(Failure::api("patch", &set))?;
            }
            Action::PatchExternal { object, change } => {
                patch::external(ctx, &namespace, object, change)
                    .await
                    .map_err(|source| Failure::Contract { object: describe(&set), source })?;
            }
            Action::DeleteLeftover(reference) => {
                tracing::info!(set = set.name_any(), object = %reference, "deleting an orphaned object");
                ctx.contracts
                    .delete(&namespace, reference)
                    .await
                    .map_err(|source| Failure::Contract { object: describe(&set), source })?;
            }
            Action::PatchMachine { name, change, parts } => {
                let machine = machines.iter_mut().find(|machine| machine.name_any() == *name);
                let patched =
                    patch_machine(ctx, &set, machine.as_deref(), name, change, parts.as_ref())
                        .await?;
                match (machine, patched) {
                    (Some(place), Some(patched)) => *place = patched,
                    // It has just been adopted.
                    (None, Some(patched)) => machines.push(patched),
                    (_, None) => {}
                }
            }
            Action::Create { count } => {
                for _ in 0..*count {
                    machines.push(create(ctx, &set, observed).await?);
                    ctx.full_namespaces.forget(&namespace);
                }
            }
            Action::Delete { machines } => {
                for name in machines {
                    owned_machines::delete(ctx, &namespace, name).await?;
                }
            }
            Action::Remediate { machines: broken } => {
                for machine in machines.iter().filter(|m| broken.contains(&m.name_any())) {
                    note_remediation(ctx, machine).await?;
                    owned_machines::delete(ctx, &namespace, &machine.name_any()).await?;
                }
            }
        }
    }
    Ok(Some((set, machines)))
}

/// Patches a machine after its objects, so that an interrupted update repeats both.
async fn patch_machine(
    ctx: &Context,
    set: &MachineSet,
    machine: Option<&Machine>,
    name: &str,
    change: &Value,
    parts: Option<&Value>,
) -> Result<Option<Machine>, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    if let (Some(machine), Some(parts)) = (machine, parts) {
        let spec = &machine.spec;
        for reference in spec.bootstrap.config_ref.iter().chain([&spec.infrastructure_ref]) {
            match patch::external(ctx, &namespace, reference, parts).await {
                Ok(()) => {}
                // It is being deleted, or does not exist yet.
                Err(error) if error.is_not_found() => {}
                Err(source) => return Err(Failure::Contract { object: describe(machine), source }),
            }
        }
    }
    owned_machines::patch(ctx, labels::MANAGER_MACHINE_SET, &namespace, name, change).await
}

/// Reports on the machine that its owner handles the remediation.
async fn note_remediation(ctx: &Context, machine: &Machine) -> Result<(), Failure> {
    let existing = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut list = Conditions::new(existing, machine.metadata.generation, ctx.now());
    list.set(conditions::OWNER_REMEDIATED, Status::False, "MachineDeleting", "being replaced");
    let change = json!({
        "metadata": { "resourceVersion": machine.resource_version() },
        "status": { "conditions": list.finish() },
    });
    let api: Api<Machine> =
        Api::namespaced(ctx.client.clone(), &machine.namespace().unwrap_or_default());
    api.patch_status(&machine.name_any(), &PatchParams::default(), &Patch::Merge(&change))
        .await
        .map_err(Failure::api("patch the status of", machine))?;
    Ok(())
}
