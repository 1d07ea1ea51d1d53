//! LXCMachine: one machine as one instance.

mod apply;
mod bootstrap;
mod observe;
mod report;
mod validate;

use std::sync::Arc;

use capi_api::core::{Cluster, Machine};
use capn_api::{LXCCluster, LXCMachine, keys};
use capn_plan::machine::{Plan, WaitingOn, plan};
use kube::{Api, runtime::controller::Action};

use crate::{
    changes,
    context::Context,
    drive,
    echoes::Echoes,
    failure::Failure,
    instance, patch,
    references::{self, namespace},
    triggers,
};
use observe::References;
use report::{Bootstrap, Outcome};
use validate::{Standing, Subject};

/// More steps than any machine needs; a server that undoes each of them is left for later.
const MAX_STEPS: usize = 8;

/// Runs the controller until the context says stop.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (controller, store) = drive::controller::<LXCMachine>(ctx.api(), ctx.watched());
    ctx.options.metrics.objects().machines(store.clone());
    let (of_cluster, of_lxc_cluster) = (store.clone(), store.clone());
    let signals = ctx.remotes.signals();
    let (echoes, woken) = Echoes::new(triggers::machines_on_servers(signals, store));
    let controller = controller
        .watches_stream(changes::that_matter::<Machine>(ctx.api(), &["nodeRef"]), |machine| {
            triggers::infrastructure_of_machine(&machine)
        })
        .watches_stream(
            changes::that_matter::<Cluster>(ctx.api(), &["initialization"]),
            move |cluster| triggers::in_cluster(&of_cluster, &cluster.metadata),
        )
        .watches_stream(
            changes::that_matter::<LXCCluster>(ctx.api(), &["network"]),
            move |cluster| triggers::in_same_cluster(&of_lxc_cluster, &cluster.metadata),
        )
        .reconcile_on(woken);
    drive::drive(controller, echoes, ctx, reconcile).await;
}

async fn reconcile(machine: Arc<LXCMachine>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let machine = machine.as_ref().clone();
    let found = observe::references(&ctx, &machine).await?;
    if references::is_paused(&machine.metadata, found.cluster.as_ref()) {
        return report::paused(&ctx, &machine).await;
    }
    match validate::standing(&machine, &found) {
        Standing::Nothing => Ok(Action::await_change()),
        Standing::Keep(subject) => keep(&ctx, machine, &found, subject).await,
        Standing::Delete(subject) => delete(&ctx, machine, &found, subject).await,
        Standing::Orphan => report::orphaned(&ctx, &machine).await,
        Standing::Invalid(failure) => Err(report::failed(&ctx, &machine, failure).await),
    }
}

async fn keep(
    ctx: &Context,
    mut machine: LXCMachine,
    found: &References,
    subject: Subject,
) -> Result<Action, Failure> {
    if let Some(gate) = subject.held_by()
        && !subject.is_made_early()
    {
        let asked = Bootstrap::default();
        return report::outcome(ctx, machine, &subject, Outcome::gated(gate), asked).await;
    }
    match settle(ctx, &mut machine, found, &subject).await {
        Ok(outcome) => {
            let (mut asked, mut keeps) = (Bootstrap::default(), false);
            if let Outcome::Ready { holds_data, .. } = outcome {
                asked = bootstrap::observe(ctx, &machine, found, &subject).await;
                keeps =
                    holds_data && asked.is_over() && !bootstrap::forget(ctx, found, &subject).await;
            }
            let action = report::outcome(ctx, machine, &subject, outcome, asked).await?;
            Ok(if keeps { Action::requeue(ctx.options.retries.blocked) } else { action })
        }
        Err(failure) => Err(report::failed(ctx, &machine, failure).await),
    }
}

/// Makes the instance and keeps it running: takes one step after the other until there is
/// nothing to do now.
async fn settle(
    ctx: &Context,
    machine: &mut LXCMachine,
    found: &References,
    subject: &Subject,
) -> Result<Outcome, Failure> {
    let remote = observe::remote(ctx, found).await?;
    let api = Api::namespaced(ctx.client.clone(), namespace(&machine.metadata));
    if let Some(changed) = patch::add_finalizer(&api, machine, keys::MACHINE_FINALIZER).await? {
        *machine = changed;
    }
    if let Some(gate) = subject.held_by()
        && remote.early.available_permits() == 0
    {
        // The server is not asked for nothing, however many wait.
        return Ok(Outcome::Waiting(WaitingOn::Turn(gate)));
    }
    let (mut material, mut turn) = (None, None);
    for _ in 0..MAX_STEPS {
        let seen = instance::observe(ctx, &remote, &subject.name).await?;
        if material.is_none() && subject.needs_launch(&seen) {
            if let (Some(gate), None) = (subject.held_by(), &turn) {
                if !observe::is_time(ctx, &remote, subject).await? {
                    return Ok(Outcome::gated(gate));
                }
                turn = remote.early.try_acquire().ok();
                if turn.is_none() {
                    return Ok(Outcome::Waiting(WaitingOn::Turn(gate)));
                }
            }
            material = Some(observe::material(ctx, &remote, found, subject).await?);
        }
        let material = material.as_ref();
        let wanted = validate::wanted(subject, material, &remote.facts(), ctx.now())?;
        match plan(&wanted, &seen) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, machine, &subject.name, &seen, step, material).await?;
            }
            settled => return Ok(Outcome::of(settled, &wanted, &seen)),
        }
    }
    Ok(Outcome::unsettled())
}

async fn delete(
    ctx: &Context,
    mut machine: LXCMachine,
    found: &References,
    subject: Subject,
) -> Result<Action, Failure> {
    match settle_deletion(ctx, &mut machine, found, &subject).await {
        Ok(outcome) => report::deletion(ctx, &machine, &subject, outcome).await,
        Err(failure) => Err(report::deletion_failed(ctx, &machine, failure).await),
    }
}

/// Deletes the instance.
async fn settle_deletion(
    ctx: &Context,
    machine: &mut LXCMachine,
    found: &References,
    subject: &Subject,
) -> Result<Outcome, Failure> {
    report::deletion_begins(ctx, machine).await?;
    let remote = observe::remote(ctx, found).await?;
    for _ in 0..MAX_STEPS {
        let seen = instance::observe_record(ctx, &remote, &subject.name).await?;
        let wanted = validate::wanted(subject, None, &remote.facts(), ctx.now())?;
        match plan(&wanted, &seen) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, machine, &subject.name, &seen, step, None).await?;
            }
            settled => return Ok(Outcome::of(settled, &wanted, &seen)),
        }
    }
    Ok(Outcome::unsettled())
}
