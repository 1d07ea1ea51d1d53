//! LXCMachinePool: as many LXCMachines as a MachinePool wants, all created from one template.
//!
//! Cluster API creates a Machine for each LXCMachine. To remove a machine, its Machine is deleted:
//! that drains the node and then deletes the LXCMachine and its instance. This module therefore
//! never contacts a server.

mod apply;
mod observe;
mod report;
mod validate;

use std::sync::Arc;

use capi_api::{
    core::{Cluster, Machine, MachinePool},
    labels, refs,
};
use capn_api::{LXCMachine, LXCMachinePool, keys};
use capn_controller::watch::concerning;
use capn_plan::pool::plan;
use kube::{
    Api,
    api::ObjectMeta,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};

use crate::{
    changes,
    context::Context,
    drive,
    failure::Failure,
    patch,
    references::{self, label, namespace},
    triggers,
    wake_filter::WakeFilter,
};
use observe::References;
use validate::{Disposition, ValidPool};

/// Fields of an LXCMachine that show its state.
const OF_LXC_MACHINE: [&str; 5] = [
    "/metadata/deletionTimestamp",
    "/metadata/ownerReferences",
    "/spec",
    "/status/ready",
    "/status/conditions",
];

/// Runs the controller until the context is cancelled.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (controller, store) = drive::controller(&ctx.own::<LXCMachinePool>());
    let (of_pool, of_machine, of_cluster) = (store.clone(), store.clone(), store);
    let controller = controller
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<MachinePool>(), &[]),
            move |pool| {
                owned_by(&of_pool, namespace(&pool.metadata), references::name(&pool.metadata))
            },
        ))
        .reconcile_on(concerning(
            changes::of_fields(&ctx.all::<LXCMachine>(), &OF_LXC_MACHINE),
            pool_of,
        ))
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<Machine>(), &["conditions"]),
            move |machine: &Machine| match label(&machine.metadata, labels::POOL_NAME) {
                Some(pool) => owned_by(&of_machine, namespace(&machine.metadata), pool),
                None => Vec::new(),
            },
        ))
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<Cluster>(), &["initialization"]),
            move |cluster| triggers::in_cluster(&of_cluster, &cluster.metadata),
        ));
    drive::drive(controller, WakeFilter::none(), ctx, reconcile).await;
}

/// Returns the pool to which an LXCMachine belongs.
fn pool_of(machine: &LXCMachine) -> Option<ObjectRef<LXCMachinePool>> {
    let owner = refs::owner(&machine.metadata, capn_api::GROUP, "LXCMachinePool")?;
    Some(ObjectRef::new(&owner.name).within(namespace(&machine.metadata)))
}

/// Returns the pools of a MachinePool: one, unless two refer to it.
fn owned_by(
    store: &Store<LXCMachinePool>,
    within: &str,
    pool: &str,
) -> Vec<ObjectRef<LXCMachinePool>> {
    let is_owned = |meta: &ObjectMeta| {
        namespace(meta) == within
            && refs::owner(meta, capi_api::core::GROUP, "MachinePool")
                .is_some_and(|owner| owner.name == pool)
    };
    let pools = store.state();
    let pools = pools.iter().filter(|found| is_owned(&found.metadata));
    pools.map(|found| ObjectRef::from_obj(found.as_ref())).collect()
}

async fn reconcile(pool: Arc<LXCMachinePool>, ctx: Arc<Context>) -> Result<Action, Failure> {
    // It is read again, because the plan depends on the last write.
    let current: Option<LXCMachinePool> =
        references::get(&ctx.client, namespace(&pool.metadata), references::name(&pool.metadata))
            .await?;
    let Some(pool) = current else { return Ok(Action::await_change()) };
    let found = observe::references(&ctx, &pool).await?;
    if references::is_paused(&pool.metadata, found.cluster.as_ref()) {
        return report::paused(&ctx, &pool).await;
    }
    match validate::disposition(&pool, &found) {
        Disposition::Nothing => Ok(Action::await_change()),
        Disposition::Invalid(message) => report::invalid(&ctx, &pool, message).await,
        Disposition::Keep(valid) => reconcile_replicas(&ctx, pool.clone(), &found, &valid).await,
        Disposition::Delete(valid) => delete(&ctx, &pool, &found, &valid).await,
    }
}

async fn reconcile_replicas(
    ctx: &Context,
    mut pool: LXCMachinePool,
    found: &References,
    valid: &ValidPool,
) -> Result<Action, Failure> {
    let api = Api::namespaced(ctx.client.clone(), namespace(&pool.metadata));
    if let Some(changed) = patch::add_finalizer(&api, &pool, keys::MACHINE_POOL_FINALIZER).await? {
        pool = changed;
    }
    let plan = plan(&valid.wanted(&pool), &valid.replicas);
    apply::apply(ctx, &pool, found, valid, &plan).await?;
    report::outcome(ctx, pool, valid, &plan).await
}

async fn delete(
    ctx: &Context,
    pool: &LXCMachinePool,
    found: &References,
    valid: &ValidPool,
) -> Result<Action, Failure> {
    let plan = plan(&valid.wanted(pool), &valid.replicas);
    apply::apply(ctx, pool, found, valid, &plan).await?;
    report::deletion(ctx, pool, valid).await
}
