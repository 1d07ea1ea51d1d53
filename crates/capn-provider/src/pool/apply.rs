//! Creates LXCMachines and deletes Machines. Nothing else except `report` writes.

use std::collections::BTreeMap;

use capi_api::{core::Machine, labels};
use capn_api::{LXCMachine, LXCMachinePool, LXCMachineSpec, keys};
use capn_plan::pool::{MachineDeletion, Plan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Resource as _,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
    runtime::events::EventType,
};

use super::{observe::References, validate::ValidPool};
use crate::{
    context::Context,
    events::publish,
    failure::Failure,
    references::{name, namespace},
};

/// Executes a plan.
///
/// # Cancellation
///
/// Each effect is independent: a created machine is found again by its owner, and a deletion is
/// requested again.
pub(super) async fn apply(
    ctx: &Context,
    pool: &LXCMachinePool,
    found: &References,
    valid: &ValidPool,
    plan: &Plan,
) -> Result<(), Failure> {
    for domain in &plan.create {
        create(ctx, pool, valid, domain.as_deref()).await?;
    }
    for deletion in &plan.delete {
        delete(ctx, pool, found, deletion).await?;
    }
    Ok(())
}

async fn create(
    ctx: &Context,
    pool: &LXCMachinePool,
    valid: &ValidPool,
    domain: Option<&str>,
) -> Result<(), Failure> {
    let machine = machine(pool, valid, domain);
    let api: Api<LXCMachine> = Api::namespaced(ctx.client.clone(), namespace(&pool.metadata));
    let made = api
        .create(&PostParams::default(), &machine)
        .await
        .map_err(Failure::kube("create a machine of", pool))?;
    let note = format!("made LXCMachine {}", name(&made.metadata));
    publish(ctx, pool, EventType::Normal, "MachineCreated", note).await;
    Ok(())
}

/// Returns a new machine of the pool. Kubernetes generates its name.
fn machine(pool: &LXCMachinePool, valid: &ValidPool, domain: Option<&str>) -> LXCMachine {
    let template = &pool.spec.template;
    let mut labels = template.metadata.labels.clone();
    labels.insert(labels::CLUSTER_NAME.to_owned(), valid.cluster.clone());
    labels.insert(labels::POOL_NAME.to_owned(), valid.machine_pool.clone());
    if let Some(filter) = crate::references::label(&pool.metadata, labels::WATCH_FILTER) {
        labels.insert(labels::WATCH_FILTER.to_owned(), filter.to_owned());
    }
    let mut annotations: BTreeMap<String, String> = template.metadata.annotations.clone();
    let made_for = [
        (keys::POOL_VERSION_ANNOTATION, valid.version.as_deref()),
        (keys::POOL_BOOTSTRAP_ANNOTATION, valid.bootstrap.as_deref()),
        (keys::POOL_FAILURE_DOMAIN_ANNOTATION, domain),
        (labels::CLONED_FROM_NAME, Some(name(&pool.metadata))),
        (labels::CLONED_FROM_GROUP_KIND, Some("LXCMachinePool.infrastructure.cluster.x-k8s.io")),
    ];
    for (key, value) in made_for {
        if let Some(value) = value {
            annotations.insert(key.to_owned(), value.to_owned());
        }
    }
    LXCMachine {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name(&pool.metadata))),
            namespace: pool.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            // Its Machine becomes the controller; until then, this owner reference protects it from
            // garbage collection.
            owner_references: pool.owner_ref(&()).map(|owner| {
                vec![OwnerReference { controller: None, block_owner_deletion: None, ..owner }]
            }),
            ..ObjectMeta::default()
        },
        spec: LXCMachineSpec { provider_id: None, ..template.spec.clone() },
        status: None,
    }
}

/// Deletes the Machine of a replica, but not another one with the same name.
async fn delete(
    ctx: &Context,
    pool: &LXCMachinePool,
    found: &References,
    deletion: &MachineDeletion,
) -> Result<(), Failure> {
    let MachineDeletion { replica, machine, why } = deletion;
    let owner = found.machines.iter().find(|owner| name(&owner.metadata) == machine);
    let uid = owner.and_then(|owner| owner.metadata.uid.clone());
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::default()
    };
    let within = namespace(&pool.metadata);
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), within);
    match api
        .delete(machine, &params)
        .await
        .map_err(Failure::kube_named("delete", "Machine", within, machine))
    {
        Ok(_) => {}
        Err(failure) if failure.is_kube_not_found() => return Ok(()),
        Err(failure) => return Err(failure),
    }
    let note = format!("deleting Machine {machine} of LXCMachine {replica}: {}", why.text());
    publish(ctx, pool, EventType::Normal, "MachineDeleted", note).await;
    Ok(())
}
