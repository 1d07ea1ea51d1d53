//! LXCCluster: the load balancer and endpoint of one cluster.

mod addresses;
mod apply;
mod haproxy;
mod network;
mod observe;
mod ovn;
mod report;
mod servers;
mod validate;

use std::sync::Arc;

use capi_api::core::{Cluster, Machine};
use capn_api::{LXCCluster, LXCMachine, NetworkMode, keys};
use capn_plan::{
    balancer::{Plan, Step, plan},
    machine::Observed,
};
use kube::{Api, runtime::controller::Action};

use crate::{
    changes,
    context::Context,
    drive,
    echoes::Echoes,
    failure::Failure,
    instance, patch,
    references::{self, namespace},
    remote::Remote,
    triggers,
};
use addresses::Addresses;
use observe::References;
use report::Outcome;
use servers::Servers;
use validate::{OvnSubject, Standing, Subject};

/// More steps than any load balancer needs; a server that undoes each of them is left for later.
const MAX_STEPS: usize = 8;

/// What the reconciles of this process share. Can be lost at any moment.
#[derive(Default)]
struct Shared {
    servers: Servers,
    addresses: Addresses,
}

/// Runs the controller until the context says stop.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (controller, store) = drive::controller::<LXCCluster>(ctx.api(), ctx.watched());
    ctx.options.metrics.objects().clusters(store.clone());
    let (of_cluster, of_machine, of_leaving) = (store.clone(), store.clone(), store.clone());
    let signals = ctx.remotes.signals();
    let (echoes, woken) = Echoes::new(triggers::clusters_on_servers(signals, store));
    let controller = controller
        .watches_stream(
            changes::that_matter::<Cluster>(ctx.api(), &["initialization"]),
            move |cluster| triggers::in_cluster(&of_cluster, &cluster.metadata),
        )
        // Control planes that are about to leave.
        .watches_stream(changes::that_matter::<Machine>(ctx.api(), &[]), move |machine| {
            let leaves = machine.metadata.deletion_timestamp.is_some();
            match leaves && machine.is_control_plane() {
                true => triggers::in_same_cluster(&of_leaving, &machine.metadata),
                false => Vec::new(),
            }
        })
        // Addresses of control planes, and machines that are gone.
        .watches_stream(
            changes::that_matter::<LXCMachine>(ctx.api(), &["addresses"]),
            move |machine| triggers::cluster_of_machine(&of_machine, &machine.metadata),
        )
        .reconcile_on(woken);
    let shared = Arc::new(Shared::default());
    let reconcile = move |cluster, ctx| reconcile(cluster, ctx, shared.clone());
    drive::drive(controller, echoes, ctx, reconcile).await;
}

async fn reconcile(
    cluster: Arc<LXCCluster>,
    ctx: Arc<Context>,
    shared: Arc<Shared>,
) -> Result<Action, Failure> {
    let cluster = cluster.as_ref().clone();
    if references::annotation(&cluster.metadata, capi_api::labels::MANAGED_BY).is_some() {
        return Ok(Action::await_change());
    }
    let found = observe::references(&ctx, &cluster).await?;
    if references::is_paused(&cluster.metadata, found.cluster.as_ref()) {
        return report::paused(&ctx, &cluster).await;
    }
    match validate::standing(&cluster, &found) {
        Standing::Nothing => Ok(Action::await_change()),
        Standing::External => external(&ctx, &shared, cluster, &found).await,
        Standing::Keep(subject) => keep(&ctx, &shared, cluster, &found, &subject).await,
        Standing::KeepOvn(subject) => keep_ovn(&ctx, &shared, cluster, &found, &subject).await,
        Standing::WaitForMachines(names) => report::machines_remain(&ctx, &cluster, &names).await,
        Standing::Delete(subject) => {
            shared.addresses.release(&subject.owner.uid);
            delete(&ctx, cluster, &found, &subject).await
        }
        Standing::DeleteOvn(subject) => {
            shared.addresses.release(&subject.owner.uid);
            delete_ovn(&ctx, cluster, &found, &subject).await
        }
        Standing::LetGo => leave(&ctx, &cluster, &found).await,
        Standing::Orphan(name) => report::orphaned(&ctx, &cluster, &name).await,
        Standing::Invalid(failure) => Err(report::failed(&ctx, &cluster, failure).await),
    }
}

/// Keeps the object until its machines are gone: they find their server by it.
async fn hold(ctx: &Context, cluster: LXCCluster) -> Result<LXCCluster, Failure> {
    let api = Api::namespaced(ctx.client.clone(), namespace(&cluster.metadata));
    let changed = patch::add_finalizer(&api, &cluster, keys::CLUSTER_FINALIZER).await?;
    Ok(changed.unwrap_or(cluster))
}

/// Shows what the server tells of itself, if it can be asked. Whatever keeps it from that is
/// found, and reported, by whoever needs the server.
async fn told(
    ctx: &Context,
    shared: &Shared,
    cluster: LXCCluster,
    found: &References,
) -> Result<LXCCluster, Failure> {
    let Ok(secret) = references::identity_of(&ctx.client, &cluster).await else {
        return Ok(cluster);
    };
    let certificates = ctx.remotes.certificates(&secret);
    let cluster = report::certificates(ctx, cluster, &certificates).await?;
    let Ok(remote) = ctx.remote(&secret).await else { return Ok(cluster) };
    let told = shared.servers.ask(&remote, &cluster, found).await;
    report::server(ctx, cluster, told).await
}

/// A cluster whose load balancer nobody makes here may have a network that is.
async fn external(
    ctx: &Context,
    shared: &Shared,
    cluster: LXCCluster,
    found: &References,
) -> Result<Action, Failure> {
    let mut cluster = hold(ctx, cluster).await?;
    let settled = settle_external(ctx, &mut cluster, found).await;
    cluster = told(ctx, shared, cluster, found).await?;
    match settled {
        Ok(()) => report::external(ctx, cluster, found).await,
        Err(failure) => Err(report::failed(ctx, &cluster, failure).await),
    }
}

async fn settle_external(
    ctx: &Context,
    cluster: &mut LXCCluster,
    found: &References,
) -> Result<(), Failure> {
    if cluster.spec.network_mode() == NetworkMode::Shared {
        return Ok(());
    }
    let remote = observe::remote(ctx, cluster).await?;
    network::settle(ctx, &remote, cluster, found).await.map(|_| ())
}

async fn keep(
    ctx: &Context,
    shared: &Shared,
    mut cluster: LXCCluster,
    found: &References,
    subject: &Subject,
) -> Result<Action, Failure> {
    let settled = settle(ctx, shared, &mut cluster, found, subject).await;
    cluster = told(ctx, shared, cluster, found).await?;
    match settled {
        Ok(outcome) => report::outcome(ctx, cluster, found, subject, outcome).await,
        Err(failure) => Err(report::failed(ctx, &cluster, failure).await),
    }
}

/// Makes the load balancer and keeps it serving: takes one step after the other until there is
/// nothing to do now.
async fn settle(
    ctx: &Context,
    shared: &Shared,
    cluster: &mut LXCCluster,
    found: &References,
    subject: &Subject,
) -> Result<Outcome, Failure> {
    let remote = observe::remote(ctx, cluster).await?;
    *cluster = hold(ctx, cluster.clone()).await?;
    let network = network::settle(ctx, &remote, cluster, found).await?;
    for _ in 0..MAX_STEPS {
        let seen = instance::observe(ctx, &remote, &subject.name).await?;
        let material = match seen.instance {
            None => {
                let (addresses, network) = (&shared.addresses, network.as_deref());
                Some(observe::material(ctx, &remote, addresses, subject, network).await?)
            }
            Some(_) => None,
        };
        let wanted = validate::wanted(subject, found, material.as_ref(), &remote.facts())?;
        match plan(&wanted, &seen) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, cluster, subject, &seen, step, material).await?;
            }
            Plan::Serving(_) if give_up(ctx, &remote, cluster, subject, &seen).await? => {}
            settled => return Ok(Outcome::of(settled)),
        }
    }
    Ok(Outcome::unsettled())
}

/// Gives up a new instance whose address somebody else took at the same time, so that another
/// one is made.
async fn give_up(
    ctx: &Context,
    remote: &Remote,
    cluster: &mut LXCCluster,
    subject: &Subject,
    seen: &Observed,
) -> Result<bool, Failure> {
    let Some(instance) = seen.instance.as_ref().filter(|_| !report::is_provisioned(cluster)) else {
        return Ok(false);
    };
    let Some(whose) = addresses::lost_to(remote, subject, instance).await? else {
        return Ok(false);
    };
    tracing::info!(instance = subject.name.as_str(), whose, "gives its address up");
    apply::step(ctx, remote, cluster, subject, seen, Step::Discard, None).await?;
    Ok(true)
}

async fn keep_ovn(
    ctx: &Context,
    shared: &Shared,
    mut cluster: LXCCluster,
    found: &References,
    subject: &OvnSubject,
) -> Result<Action, Failure> {
    let settled = settle_ovn(ctx, shared, &mut cluster, found, subject).await;
    cluster = told(ctx, shared, cluster, found).await?;
    match settled {
        Ok(outcome) => report::ovn(ctx, cluster, found, subject, outcome).await,
        Err(failure) => Err(report::failed(ctx, &cluster, failure).await),
    }
}

async fn settle_ovn(
    ctx: &Context,
    shared: &Shared,
    cluster: &mut LXCCluster,
    found: &References,
    subject: &OvnSubject,
) -> Result<ovn::Outcome, Failure> {
    let remote = observe::remote(ctx, cluster).await?;
    *cluster = hold(ctx, cluster.clone()).await?;
    network::settle(ctx, &remote, cluster, found).await?;
    ovn::settle(ctx, &remote, &shared.addresses, cluster, found, subject).await
}

async fn delete_ovn(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    subject: &OvnSubject,
) -> Result<Action, Failure> {
    report::deletion_begins(ctx, &mut cluster).await?;
    let gone = async {
        let remote = observe::remote(ctx, &cluster).await?;
        ovn::settle_deletion(ctx, &remote, &cluster, found, subject).await
    };
    match gone.await {
        Ok(_) => leave(ctx, &cluster, found).await,
        Err(failure) => Err(report::deletion_failed(ctx, &cluster, failure).await),
    }
}

/// Lets an LXCCluster go whose load balancer and machines are gone, after its network.
async fn leave(ctx: &Context, cluster: &LXCCluster, found: &References) -> Result<Action, Failure> {
    let orphan = references::annotation(&cluster.metadata, keys::ORPHAN_INSTANCES_ANNOTATION);
    if orphan == Some("true") {
        return report::let_go(ctx, cluster).await;
    }
    match network::remove(ctx, cluster, found).await {
        Ok(None) => report::let_go(ctx, cluster).await,
        Ok(Some(message)) => report::network::remains(ctx, cluster, message).await,
        Err(failure) => Err(report::deletion_failed(ctx, cluster, failure).await),
    }
}

async fn delete(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    subject: &Subject,
) -> Result<Action, Failure> {
    match settle_deletion(ctx, &mut cluster, found, subject).await {
        Ok(Outcome::Gone) => leave(ctx, &cluster, found).await,
        Ok(outcome) => report::deletion(ctx, &cluster, subject, outcome).await,
        Err(failure) => Err(report::deletion_failed(ctx, &cluster, failure).await),
    }
}

/// Deletes the load balancer.
async fn settle_deletion(
    ctx: &Context,
    cluster: &mut LXCCluster,
    found: &References,
    subject: &Subject,
) -> Result<Outcome, Failure> {
    report::deletion_begins(ctx, cluster).await?;
    let remote = observe::remote(ctx, cluster).await?;
    for _ in 0..MAX_STEPS {
        let seen = instance::observe_record(ctx, &remote, &subject.name).await?;
        let wanted = validate::wanted(subject, found, None, &remote.facts())?;
        match plan(&wanted, &seen) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, cluster, subject, &seen, step, None).await?;
            }
            settled => return Ok(Outcome::of(settled)),
        }
    }
    Ok(Outcome::unsettled())
}
