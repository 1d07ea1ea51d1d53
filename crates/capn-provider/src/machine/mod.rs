//! LXCMachine: one machine as one instance.

mod apply;
mod bootstrap;
mod observe;
mod report;
mod validate;

use std::sync::Arc;

use capi_api::core::{Cluster, Machine, MachinePool};
use capn_api::{LXCCluster, LXCMachine, keys};
use capn_controller::watch::concerning;
use capn_plan::machine::{Plan, WaitingOn, plan};
use kube::{Api, runtime::controller::Action};

use crate::{
    changes,
    context::Context,
    drive,
    failure::Failure,
    instance, patch,
    references::{self, namespace},
    triggers,
    wake_filter::WakeFilter,
};
use observe::References;
use report::{Bootstrap, Outcome};
use validate::{Disposition, ValidMachine};

/// Maximum number of steps per reconcile. A server that undoes each step is retried later.
const MAX_STEPS: usize = 8;

/// Fields of a MachinePool that its machines depend on.
const OF_MACHINE_POOL: [&str; 1] = ["/spec/template/spec/bootstrap/dataSecretName"];

/// Runs the controller until the context is cancelled.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (controller, store) = drive::controller(&ctx.own::<LXCMachine>());
    ctx.options.metrics.objects().machines(store.clone());
    let (of_cluster, of_lxc_cluster, of_pool) = (store.clone(), store.clone(), store.clone());
    let signals = ctx.remotes.signals();
    let (wake_filter, woken) = WakeFilter::new(triggers::machines_on_servers(signals, store));
    let controller = controller
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<Machine>(), &["nodeRef"]),
            triggers::infrastructure_of_machine,
        ))
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<Cluster>(), &["initialization"]),
            move |cluster| triggers::in_cluster(&of_cluster, &cluster.metadata),
        ))
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<LXCCluster>(), &["network"]),
            move |cluster| triggers::in_same_cluster(&of_lxc_cluster, &cluster.metadata),
        ))
        .reconcile_on(concerning(
            changes::of_fields(&ctx.all::<MachinePool>(), &OF_MACHINE_POOL),
            move |pool| triggers::in_pool(&of_pool, pool),
        ))
        .reconcile_on(woken);
    drive::drive(controller, wake_filter, ctx, reconcile).await;
}

async fn reconcile(machine: Arc<LXCMachine>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let machine = machine.as_ref().clone();
    let found = observe::references(&ctx, &machine).await?;
    if references::is_paused(&machine.metadata, found.cluster.as_ref()) {
        return report::paused(&ctx, &machine).await;
    }
    match validate::disposition(&machine, &found) {
        Disposition::Nothing => Ok(Action::await_change()),
        Disposition::Keep(valid) => reconcile_instance(&ctx, machine, &found, valid).await,
        Disposition::Delete(valid) => delete(&ctx, machine, &found, valid).await,
        Disposition::Orphan => report::orphaned(&ctx, &machine).await,
        Disposition::Invalid(failure) => Err(report::failed(&ctx, &machine, failure).await),
    }
}

async fn reconcile_instance(
    ctx: &Context,
    mut machine: LXCMachine,
    found: &References,
    valid: ValidMachine,
) -> Result<Action, Failure> {
    if let Some(prerequisite) = valid.prerequisite()
        && !valid.is_created_early()
    {
        let asked = Bootstrap::default();
        return report::outcome(ctx, machine, &valid, Outcome::waiting_for(prerequisite), asked)
            .await;
    }
    match advance(ctx, &mut machine, found, &valid).await {
        Ok(outcome) => {
            let (mut asked, mut keeps) = (Bootstrap::default(), false);
            if let Outcome::Ready { holds_data, .. } = outcome {
                asked = bootstrap::observe(ctx, &machine, found, &valid).await;
                keeps =
                    holds_data && asked.is_over() && !bootstrap::forget(ctx, found, &valid).await;
            }
            let action = report::outcome(ctx, machine, &valid, outcome, asked).await?;
            Ok(if keeps { Action::requeue(ctx.options.retries.blocked) } else { action })
        }
        Err(failure) => Err(report::failed(ctx, &machine, failure).await),
    }
}

/// Creates the instance and keeps it running: takes one step after the other until nothing is left
/// to do.
async fn advance(
    ctx: &Context,
    machine: &mut LXCMachine,
    found: &References,
    valid: &ValidMachine,
) -> Result<Outcome, Failure> {
    let remote = observe::remote(ctx, found).await?;
    let api = Api::namespaced(ctx.client.clone(), namespace(&machine.metadata));
    if let Some(changed) = patch::add_finalizer(&api, machine, keys::MACHINE_FINALIZER).await? {
        *machine = changed;
    }
    if let Some(prerequisite) = valid.prerequisite()
        && remote.early.available_permits() == 0
    {
        // While a prerequisite is missing, no requests are sent, however many machines wait.
        return Ok(Outcome::Waiting(WaitingOn::Throttled(prerequisite)));
    }
    let (mut inputs, mut turn) = (None, None);
    for _ in 0..MAX_STEPS {
        let observed = instance::observe(ctx, &remote, &valid.name).await?;
        if inputs.is_none() && valid.needs_launch(&observed) {
            if let (Some(prerequisite), None) = (valid.prerequisite(), &turn) {
                if !observe::may_create_early(ctx, &remote, valid).await? {
                    return Ok(Outcome::waiting_for(prerequisite));
                }
                turn = remote.early.try_acquire().ok();
                if turn.is_none() {
                    return Ok(Outcome::Waiting(WaitingOn::Throttled(prerequisite)));
                }
            }
            inputs = Some(observe::inputs(ctx, &remote, found, valid).await?);
        }
        let inputs = inputs.as_ref();
        let wanted = validate::wanted(valid, inputs, &remote.facts(), ctx.now())?;
        match plan(&wanted, &observed) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, machine, &valid.name, &observed, step, inputs).await?;
            }
            settled => return Ok(Outcome::of(settled, &wanted, &observed)),
        }
    }
    Ok(Outcome::too_many_steps())
}

async fn delete(
    ctx: &Context,
    mut machine: LXCMachine,
    found: &References,
    valid: ValidMachine,
) -> Result<Action, Failure> {
    match advance_deletion(ctx, &mut machine, found, &valid).await {
        Ok(outcome) => report::deletion(ctx, &machine, &valid, outcome).await,
        Err(failure) => Err(report::deletion_failed(ctx, &machine, failure).await),
    }
}

/// Deletes the instance.
async fn advance_deletion(
    ctx: &Context,
    machine: &mut LXCMachine,
    found: &References,
    valid: &ValidMachine,
) -> Result<Outcome, Failure> {
    report::deletion_begins(ctx, machine).await?;
    let remote = observe::remote(ctx, found).await?;
    for _ in 0..MAX_STEPS {
        let observed = instance::observe_record(ctx, &remote, &valid.name).await?;
        let wanted = validate::wanted(valid, None, &remote.facts(), ctx.now())?;
        match plan(&wanted, &observed) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, machine, &valid.name, &observed, step, None).await?;
            }
            settled => return Ok(Outcome::of(settled, &wanted, &observed)),
        }
    }
    Ok(Outcome::too_many_steps())
}
