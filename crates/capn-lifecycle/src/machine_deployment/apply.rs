//! Executes the plan of a deployment. Nothing else except `report` writes.

use capi_api::{MachineDeployment, MachineSet, labels};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};

use super::plan::{Action, Plan};
use super::sets;
use crate::Context;
use crate::error::{Failure, describe, is_not_found};
use crate::objects::random;
use crate::patch;

/// Executes a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is computed again from the new state. Returns
/// the updated deployment, or `None` if this reconcile ends because the next one starts at once or
/// the deployment is gone.
pub(super) async fn apply(
    ctx: &Context,
    mut deployment: MachineDeployment,
    plan: &Plan,
) -> Result<Option<MachineDeployment>, Failure> {
    let namespace = deployment.namespace().unwrap_or_default();
    let api: Api<MachineDeployment> = Api::namespaced(ctx.client.clone(), &namespace);
    let all: Api<MachineSet> = Api::namespaced(ctx.client.clone(), &namespace);
    for action in &plan.actions {
        match action {
            Action::AddFinalizer => {
                patch::add_finalizer(&api, &deployment, labels::MACHINE_DEPLOYMENT_FINALIZER)
                    .await?;
                return Ok(None);
            }
            Action::RemoveFinalizer => {
                patch::remove_finalizer(&api, &deployment, labels::MACHINE_DEPLOYMENT_FINALIZER)
                    .await?;
                return Ok(None);
            }
            Action::Patch(change) => {
                deployment = api
                    .patch(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(change))
                    .await
                    .map_err(Failure::api("patch", &deployment))?;
            }
            Action::PatchExternal { object, change } => {
                patch::external(ctx, &namespace, object, change).await.map_err(|source| {
                    Failure::Contract { object: describe(&deployment), source }
                })?;
            }
            Action::CreateSet { revision, replicas } => {
                create(&all, &deployment, *revision, *replicas).await?;
            }
            Action::PatchSet { name, change } => {
                let params = PatchParams {
                    field_manager: Some(labels::MANAGER_MACHINE_DEPLOYMENT.to_owned()),
                    ..PatchParams::default()
                };
                match all.patch(name, &params, &Patch::Merge(change)).await {
                    Ok(_) => {}
                    Err(error) if is_not_found(&error) => {}
                    Err(error) => {
                        return Err(Failure::api_named("patch", "MachineSet", &namespace, name)(
                            error,
                        ));
                    }
                }
            }
            Action::DeleteSet(name) => match all.delete(name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => {
                    return Err(Failure::api_named("delete", "MachineSet", &namespace, name)(
                        error,
                    ));
                }
            },
        }
    }
    Ok(Some(deployment))
}

async fn create(
    all: &Api<MachineSet>,
    deployment: &MachineDeployment,
    revision: i64,
    replicas: i32,
) -> Result<(), Failure> {
    let mut set = sets::fresh(deployment, revision, &random());
    set.spec.replicas = Some(replicas);
    let params = PostParams {
        field_manager: Some(labels::MANAGER_MACHINE_DEPLOYMENT.to_owned()),
        ..PostParams::default()
    };
    all.create(&params, &set).await.map_err(Failure::api("create", &set))?;
    tracing::info!(deployment = deployment.name_any(), set = set.name_any(), "set created");
    Ok(())
}
