//! Computes the status of a pool.

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::{MachineInitialization, MachinePoolStatus};
use capi_api::{MachinePool, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Resource as _, ResourceExt as _};

use super::observe::Observed;
use super::plan::Plan;
use crate::Context;
use crate::drive::Retry as _;
use crate::error::{Failure, chain};
use crate::fleet;
use crate::lookup::external_ready;
use crate::objects::{annotation, is_deleting};
use crate::patch;
use crate::summary::ConditionState;

/// Writes the status of a pool if it changed.
pub(super) async fn write(
    ctx: &Context,
    pool: &MachinePool,
    observed: &Observed,
    plan: &Plan,
) -> Result<(), Failure> {
    put(ctx, pool, &status(pool, observed, plan, ctx.now())).await
}

/// Reports a failure. A conflict is not reported.
pub(super) async fn failed(
    ctx: &Context,
    pool: &MachinePool,
    observed: &Observed,
    mut plan: Plan,
    error: &Failure,
) -> Result<(), Failure> {
    if error.is_conflict() {
        return Ok(());
    }
    plan.blocked.push(error.over_quota().unwrap_or_else(|| chain(error)));
    let before = pool.status.as_ref().and_then(|status| status.observed_generation);
    let mut status = status(pool, observed, &plan, ctx.now());
    status.observed_generation = before;
    put(ctx, pool, &status).await
}

/// Reports that the pool or its cluster is paused.
pub(super) async fn paused(ctx: &Context, pool: &MachinePool) -> Result<(), Failure> {
    let before = pool.status.clone().unwrap_or_default();
    let mut list = Conditions::new(before.conditions.as_ref(), pool.metadata.generation, ctx.now());
    list.set(conditions::PAUSED, Status::True, reason::PAUSED, "the pool or its cluster is paused");
    put(ctx, pool, &MachinePoolStatus { conditions: Some(list.finish()), ..before }).await
}

async fn put(ctx: &Context, pool: &MachinePool, status: &MachinePoolStatus) -> Result<(), Failure> {
    let api: Api<MachinePool> =
        Api::namespaced(ctx.client.clone(), &pool.namespace().unwrap_or_default());
    let version = pool.metadata.resource_version.as_deref();
    patch::status(&api, &pool.name_any(), version, pool.status.as_ref(), status)
        .await
        .map_err(Failure::api("patch the status of", pool))?;
    Ok(())
}

/// Returns the status of a pool. Pure.
pub(super) fn status(
    pool: &MachinePool,
    observed: &Observed,
    plan: &Plan,
    now: Timestamp,
) -> MachinePoolStatus {
    let before = pool.status.clone().unwrap_or_default();
    let reached = initialization(pool, observed);
    let machines = &observed.machines;
    let view = observed.infrastructure.view();
    let of_provider = view.and_then(|view| view.status_count("replicas"));
    // While the infrastructure is being deleted, the machines are what is left.
    let have = of_provider.unwrap_or_else(|| fleet::count(machines));
    let with = |kind| {
        if observed.instances.is_some() || is_deleting(pool.meta()) {
            fleet::count_with(machines, kind)
        } else {
            // Such a provider reports nothing about single machines.
            have
        }
    };
    let (ready, available) = (with(conditions::READY), with(conditions::AVAILABLE));
    let want = if is_deleting(pool.meta()) { Some(0) } else { pool.spec.replicas };
    let mut list = Conditions::new(before.conditions.as_ref(), pool.metadata.generation, now);
    ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    let spec = &pool.spec.template.spec;
    match &spec.bootstrap.config_ref {
        None => ConditionState::yes("DataSecretProvided"),
        Some(reference) => {
            let created = reached.bootstrap_data_secret_created == Some(true);
            external_ready(reference, &observed.bootstrap, created, |view| {
                match view.data_secret() {
                    Some(_) => ConditionState::yes(reason::READY),
                    None => ConditionState::no(
                        reason::NOT_READY,
                        format!("{reference} has no bootstrap data yet"),
                    ),
                }
            })
        }
    }
    .set(&mut list, conditions::BOOTSTRAP_CONFIG_READY);
    let reference = &spec.infrastructure_ref;
    let provisioned = reached.infrastructure_provisioned == Some(true);
    external_ready(reference, &observed.infrastructure, provisioned, |view| {
        if view.is_provisioned() {
            ConditionState::yes(reason::READY)
        } else {
            ConditionState::no(reason::NOT_READY, format!("{reference} is not provisioned yet"))
        }
    })
    .set(&mut list, conditions::INFRASTRUCTURE_READY);
    self::available(available, pool.spec.replicas).set(&mut list, conditions::AVAILABLE);
    scaling_up(have, want, plan).set(&mut list, conditions::SCALING_UP);
    fleet::scaling_down(have, want, machines, now).set(&mut list, conditions::SCALING_DOWN);
    fleet::ready(machines).set(&mut list, conditions::MACHINES_READY);
    fleet::up_to_date(machines).set(&mut list, conditions::MACHINES_UP_TO_DATE);
    fleet::remediating(machines).set(&mut list, conditions::REMEDIATING);
    deleting(pool, observed, now).set(&mut list, conditions::DELETING);
    MachinePoolStatus {
        conditions: Some(list.finish()),
        initialization: (reached != MachineInitialization::default()).then_some(reached),
        node_refs: node_refs(observed),
        replicas: Some(have),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        up_to_date_replicas: Some(with(conditions::UP_TO_DATE)),
        versions: fleet::versions(machines),
        phase: Some(phase(pool, observed, reached, have, ready).to_owned()),
        observed_generation: pool.metadata.generation,
        deprecated: before.deprecated,
    }
}

fn initialization(pool: &MachinePool, observed: &Observed) -> MachineInitialization {
    let mut reached =
        pool.status.as_ref().and_then(|status| status.initialization).unwrap_or_default();
    let bootstrap = &pool.spec.template.spec.bootstrap;
    let has_data = match &bootstrap.config_ref {
        Some(_) => observed.bootstrap.view().is_some_and(|view| view.data_secret().is_some()),
        None => bootstrap.data_secret_name.is_some(),
    };
    if has_data {
        reached.bootstrap_data_secret_created = Some(true);
    }
    if observed.infrastructure.view().is_some_and(|view| view.is_provisioned()) {
        reached.infrastructure_provisioned = Some(true);
    }
    reached
}

/// Returns the nodes, in the order of the machines.
fn node_refs(observed: &Observed) -> Option<Vec<ObjectReference>> {
    let references: Vec<_> = observed
        .machines
        .iter()
        .filter_map(|machine| machine.node_name())
        .map(|name| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(name.to_owned()),
            uid: observed.node_uids.get(name).cloned(),
            ..ObjectReference::default()
        })
        .collect();
    (!references.is_empty()).then_some(references)
}

/// Returns the phase, by upstream's rules.
fn phase(
    pool: &MachinePool,
    observed: &Observed,
    reached: MachineInitialization,
    have: i32,
    ready: i32,
) -> &'static str {
    if is_deleting(pool.meta()) {
        return "Deleting";
    }
    if reached.infrastructure_provisioned != Some(true) {
        let has_data = reached.bootstrap_data_secret_created == Some(true);
        return if has_data { "Provisioning" } else { "Pending" };
    }
    let is_managed =
        annotation(pool.meta(), labels::REPLICAS_MANAGED_BY).is_some_and(|value| value != "false");
    match pool.spec.replicas {
        Some(want) if want == ready && want == have => "Running",
        // Another controller sets the replicas, so the direction is unknown.
        Some(_) if is_managed => "Scaling",
        Some(want) if want > ready => "ScalingUp",
        Some(_) => "ScalingDown",
        None if observed.machines.iter().any(|machine| machine.node_name().is_some()) => {
            "Provisioned"
        }
        None => "Provisioning",
    }
}

fn available(available: i32, want: Option<i32>) -> ConditionState {
    match want {
        None => {
            ConditionState::unknown(reason::WAITING_FOR_REPLICAS_SET, "spec.replicas is not set")
        }
        Some(want) if available >= want => ConditionState::yes(reason::AVAILABLE),
        Some(want) => ConditionState::no(
            reason::NOT_AVAILABLE,
            format!("{available} available replicas, at least {want} required"),
        ),
    }
}

fn scaling_up(have: i32, want: Option<i32>, plan: &Plan) -> ConditionState {
    let Some(want) = want else {
        return ConditionState::unknown(
            reason::WAITING_FOR_REPLICAS_SET,
            "spec.replicas is not set",
        );
    };
    let lines: Vec<_> = plan.blocked.iter().map(|why| format!("* {why}")).collect();
    if have >= want && lines.is_empty() {
        return ConditionState::no(reason::NOT_SCALING_UP, "");
    }
    let message = format!("from {have} to {want} machines");
    let message = if lines.is_empty() {
        message
    } else {
        format!("{message}, blocked:\n{}", lines.join("\n"))
    };
    ConditionState::new(Status::True, reason::SCALING_UP, message)
}

fn deleting(pool: &MachinePool, observed: &Observed, now: Timestamp) -> ConditionState {
    if !is_deleting(pool.meta()) {
        return ConditionState::no(reason::NOT_DELETING, "");
    }
    let message = if observed.machines.is_empty() {
        "bootstrap and infrastructure are being deleted".to_owned()
    } else {
        fleet::deleting_message(&observed.machines, now)
    };
    ConditionState::new(Status::True, reason::DELETING, message)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
