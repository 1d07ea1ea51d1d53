//! Carries out what was decided about a set. The only writer besides `report`.

use capi_api::conditions::{self, Conditions, Status};
use capi_api::{Machine, MachineSet, labels};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::create::create;
use super::observe::Observed;
use super::plan::{Action, Plan};
use crate::Context;
use crate::error::{Failure, describe, is_not_found};
use crate::patch;

/// Carries out a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is made again from what is then observed.
/// Returns the set and its machines as they are afterwards, or `None` if the pass ends here
/// because the next one starts at once or the set is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut set: MachineSet,
    seen: &Observed,
    plan: &Plan,
) -> Result<Option<(MachineSet, Vec<Machine>)>, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<MachineSet> = Api::namespaced(ctx.client.clone(), &namespace);
    let mut machines = seen.machines.clone();
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
                tracing::info!(set = set.name_any(), object = %reference, "delete what was left behind");
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
                    // Adopted just now.
                    (None, Some(patched)) => machines.push(patched),
                    (_, None) => {}
                }
            }
            Action::Create { count } => {
                for _ in 0..*count {
                    machines.push(create(ctx, &set, seen).await?);
                    ctx.full.forget(&namespace);
                }
            }
            Action::Delete { machines } => {
                for name in machines {
                    delete(ctx, &namespace, name).await?;
                }
            }
            Action::Remediate { machines: broken } => {
                for machine in machines.iter().filter(|m| broken.contains(&m.name_any())) {
                    note_remediation(ctx, machine).await?;
                    delete(ctx, &namespace, &machine.name_any()).await?;
                }
            }
        }
    }
    Ok(Some((set, machines)))
}

/// Patches a machine after what it is made of, so that an interruption repeats both.
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
                // It is on its way out, or has yet to come.
                Err(error) if error.is_not_found() => {}
                Err(source) => return Err(Failure::Contract { object: describe(machine), source }),
            }
        }
    }
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let params = PatchParams {
        field_manager: Some(labels::MANAGER_MACHINE_SET.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(name, &params, &Patch::Merge(change)).await {
        Ok(machine) => Ok(Some(machine)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(Failure::api_named("patch", "Machine", &namespace, name)(error)),
    }
}

async fn delete(ctx: &Context, namespace: &str, name: &str) -> Result<(), Failure> {
    tracing::info!(namespace, machine = name, "delete machine");
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Failure::api_named("delete", "Machine", namespace, name)(error)),
    }
}

/// Says on the machine that its owner is dealing with it.
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
