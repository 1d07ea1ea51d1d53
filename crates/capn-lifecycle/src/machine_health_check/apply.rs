//! Writes the results of a health check, and requests the replacement of unhealthy machines.
//! Nothing else except `report` writes.

use capi_api::conditions::{self, Conditions, Status};
use capi_api::core::MachineStatus;
use capi_api::{Cluster, Machine, MachineHealthCheck, labels, refs};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use super::external;
use super::observe::Observed;
use super::plan::{CREATION_FAILED, Change, Plan, Request};
use super::validate::ValidHealthCheck;
use crate::Context;
use crate::error::{Failure, chain, is_not_found};
use crate::events;
use crate::objects::{label, plain_owner};
use crate::patch;

/// Makes the cluster the owner of a health check, so that both are deleted together.
pub(super) async fn own(
    ctx: &Context,
    check: MachineHealthCheck,
    cluster: &Cluster,
) -> Result<MachineHealthCheck, Failure> {
    let name = check.spec.cluster_name.as_str();
    let owners = plain_owner(cluster)
        .and_then(|owner| refs::with_owner(check.metadata.owner_references.as_ref(), owner));
    if owners.is_none() && label(check.meta(), labels::CLUSTER_NAME) == Some(name) {
        return Ok(check);
    }
    let mut change = json!({ "metadata": { "labels": { labels::CLUSTER_NAME: name } } });
    if let Some(owners) = owners {
        change["metadata"]["ownerReferences"] = json!(owners);
        change["metadata"]["resourceVersion"] = json!(check.resource_version());
    }
    let api: Api<MachineHealthCheck> =
        Api::namespaced(ctx.client.clone(), &check.namespace().unwrap_or_default());
    api.patch(&check.name_any(), &PatchParams::default(), &Patch::Merge(change))
        .await
        .map_err(Failure::api("patch", &check))
}

/// Executes a plan.
///
/// # Guarantees
///
/// Every change can be repeated; an interrupted plan is computed again from the new state. A
/// machine that cannot be written does not block others; the first failure is returned.
pub(super) async fn apply(
    ctx: &Context,
    check: &MachineHealthCheck,
    wanted: &ValidHealthCheck,
    observed: &Observed,
    plan: &Plan,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for change in &plan.changes {
        let target = observed.targets.iter().find(|t| t.machine.name_any() == change.machine);
        let Some(target) = target else { continue };
        let done = apply_one(ctx, check, wanted, observed, &target.machine, change).await;
        outcome = outcome.and(done);
    }
    outcome
}

async fn apply_one(
    ctx: &Context,
    check: &MachineHealthCheck,
    wanted: &ValidHealthCheck,
    observed: &Observed,
    machine: &Machine,
    change: &Change,
) -> Result<(), Failure> {
    let requested = match (change.request, &wanted.template, observed.template.found()) {
        (Request::Make, Some(template), Some(from)) => {
            external::create(ctx, check, template, from, machine).await
        }
        (Request::Delete, Some(template), _) => {
            external::delete(ctx, check, template, machine).await
        }
        (Request::Keep | Request::Make | Request::Delete, _, _) => Ok(()),
    };
    let conditions = match (&requested, change.request) {
        (Err(error), Request::Make) => refused(ctx, machine, &change.conditions, error),
        (Err(_) | Ok(()), _) => change.conditions.clone(),
    };
    say(ctx, machine, conditions).await?;
    requested?;
    if let Some(news) = &change.news {
        tracing::info!(machine = machine.name_any(), why = news.note, "a machine is unhealthy");
        events::publish(ctx, machine, news).await;
    }
    Ok(())
}

/// Returns the conditions of a machine whose remediation request could not be created.
fn refused(
    ctx: &Context,
    machine: &Machine,
    planned: &[Condition],
    error: &Failure,
) -> Vec<Condition> {
    let planned = planned.to_vec();
    let mut list = Conditions::new(Some(&planned), machine.metadata.generation, ctx.now());
    let kind = conditions::EXTERNALLY_REMEDIATED;
    list.set(kind, Status::False, CREATION_FAILED, chain(error));
    list.finish()
}

/// Writes the conditions of a machine. A missing machine is not an error.
async fn say(ctx: &Context, machine: &Machine, conditions: Vec<Condition>) -> Result<(), Failure> {
    let api: Api<Machine> =
        Api::namespaced(ctx.client.clone(), &machine.namespace().unwrap_or_default());
    let status = MachineStatus {
        conditions: Some(conditions),
        ..machine.status.clone().unwrap_or_default()
    };
    // The list is replaced as a whole, based on the version that was read, so that concurrent
    // writes of the Machine controller are not lost.
    let version = machine.metadata.resource_version.as_deref();
    match patch::status(&api, &machine.name_any(), version, machine.status.as_ref(), &status).await
    {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Failure::api("patch the status of", machine)(error)),
    }
}
