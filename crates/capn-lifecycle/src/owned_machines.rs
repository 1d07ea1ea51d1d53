//! Writes Machines that a set, a pool or a control plane controls.

use capi_api::Machine;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::Context;
use crate::error::{Failure, is_not_found};

/// Creates a Machine as the field manager `manager`.
///
/// # Errors
///
/// [`Failure::Api`], a conflict if a Machine with this name exists.
pub(crate) async fn create(
    ctx: &Context,
    manager: &str,
    machine: &Machine,
) -> Result<Machine, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let created = api.create(&params, machine).await.map_err(Failure::api("create", machine))?;
    tracing::info!(namespace, manager, machine = machine.name_any(), "machine created");
    Ok(created)
}

/// Applies a merge patch to a Machine as the field manager `manager`. `None`: it is gone.
///
/// # Errors
///
/// [`Failure::Api`] if the request fails.
pub(crate) async fn patch(
    ctx: &Context,
    manager: &str,
    namespace: &str,
    name: &str,
    change: &Value,
) -> Result<Option<Machine>, Failure> {
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), namespace);
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    match api.patch(name, &params, &Patch::Merge(change)).await {
        Ok(machine) => Ok(Some(machine)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(Failure::api_named("patch", "Machine", namespace, name)(error)),
    }
}

/// Deletes a Machine. A missing one is not an error.
///
/// # Errors
///
/// [`Failure::Api`] if the request fails.
pub(crate) async fn delete(ctx: &Context, namespace: &str, name: &str) -> Result<(), Failure> {
    tracing::info!(namespace, machine = name, "deleting a machine");
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Failure::api_named("delete", "Machine", namespace, name)(error)),
    }
}
