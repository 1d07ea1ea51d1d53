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
use capn_controller::watch::concerning;
use capn_plan::{
    balancer::{Plan, Step, plan},
    machine::Observed,
};
use kube::{Api, runtime::controller::Action};

use crate::{
    changes,
    context::Context,
    drive,
    failure::Failure,
    instance, patch,
    references::{self, namespace},
    remote::Remote,
    triggers,
    wake_filter::WakeFilter,
};
use addresses::Addresses;
use observe::References;
use report::Outcome;
use servers::Servers;
use validate::{Disposition, ValidCluster, ValidOvnCluster};

/// Maximum number of steps per reconcile. A server that undoes each step is retried later.
const MAX_STEPS: usize = 8;

/// State shared by all reconciles of this process. It can be lost at any time.
#[derive(Default)]
struct Shared {
    servers: Servers,
    addresses: Addresses,
}

/// Runs the controller until the context is cancelled.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (controller, store) = drive::controller(&ctx.own::<LXCCluster>());
    ctx.options.metrics.objects().clusters(store.clone());
    let (of_cluster, of_machine, of_leaving) = (store.clone(), store.clone(), store.clone());
    let signals = ctx.remotes.signals();
    let (wake_filter, woken) = WakeFilter::new(triggers::clusters_on_servers(signals, store));
    let controller = controller
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<Cluster>(), &["initialization"]),
            move |cluster| triggers::in_cluster(&of_cluster, &cluster.metadata),
        ))
        // Control planes that are about to be deleted.
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<Machine>(), &[]),
            move |machine: &Machine| {
                let is_draining = machine.metadata.deletion_timestamp.is_some();
                match is_draining && machine.is_control_plane() {
                    true => triggers::in_same_cluster(&of_leaving, &machine.metadata),
                    false => Vec::new(),
                }
            },
        ))
        // Addresses of control planes, and deletions of machines.
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<LXCMachine>(), &["addresses"]),
            move |machine| triggers::cluster_of_machine(&of_machine, &machine.metadata),
        ))
        .reconcile_on(woken);
    let shared = Arc::new(Shared::default());
    let of_deleted = shared.clone();
    ctx.own::<LXCCluster>().on_deleted(move |cluster| {
        of_deleted.addresses.release(cluster.metadata.uid.as_deref().unwrap_or_default());
    });
    let reconcile = move |cluster, ctx| reconcile(cluster, ctx, shared.clone());
    drive::drive(controller, wake_filter, ctx, reconcile).await;
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
    match validate::disposition(&cluster, &found) {
        Disposition::Nothing => Ok(Action::await_change()),
        Disposition::External => external(&ctx, &shared, cluster, &found).await,
        Disposition::Keep(valid) => {
            reconcile_load_balancer(&ctx, &shared, cluster, &found, &valid).await
        }
        Disposition::KeepOvn(valid) => keep_ovn(&ctx, &shared, cluster, &found, &valid).await,
        Disposition::WaitForMachines(names) => {
            report::machines_remain(&ctx, &cluster, &names).await
        }
        Disposition::Delete(valid) => {
            shared.addresses.release(&valid.owner.uid);
            delete(&ctx, cluster, &found, &valid).await
        }
        Disposition::DeleteOvn(valid) => {
            shared.addresses.release(&valid.owner.uid);
            delete_ovn(&ctx, cluster, &found, &valid).await
        }
        Disposition::LetGo => finish_deletion(&ctx, &cluster, &found).await,
        Disposition::Orphan(name) => report::orphaned(&ctx, &cluster, &name).await,
        Disposition::Invalid(failure) => Err(report::failed(&ctx, &cluster, failure).await),
    }
}

/// Waits until the machines are deleted: they need the object to find their server.
async fn wait_for_machines(ctx: &Context, cluster: LXCCluster) -> Result<LXCCluster, Failure> {
    let api = Api::namespaced(ctx.client.clone(), namespace(&cluster.metadata));
    let changed = patch::add_finalizer(&api, &cluster, keys::CLUSTER_FINALIZER).await?;
    Ok(changed.unwrap_or(cluster))
}

/// Reports the properties of the server if it can be reached. Failures are ignored here: the code
/// that needs the server reports them.
async fn info(
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
    let info = shared.servers.query(&remote, &cluster, found).await;
    report::server(ctx, cluster, info).await
}

/// Handles a cluster with an external load balancer, which may still have its own network.
async fn external(
    ctx: &Context,
    shared: &Shared,
    cluster: LXCCluster,
    found: &References,
) -> Result<Action, Failure> {
    let mut cluster = wait_for_machines(ctx, cluster).await?;
    let settled = reconcile_external(ctx, &mut cluster, found).await;
    cluster = info(ctx, shared, cluster, found).await?;
    match settled {
        Ok(()) => report::external(ctx, cluster, found).await,
        Err(failure) => Err(report::failed(ctx, &cluster, failure).await),
    }
}

async fn reconcile_external(
    ctx: &Context,
    cluster: &mut LXCCluster,
    found: &References,
) -> Result<(), Failure> {
    if cluster.spec.network_mode() == NetworkMode::Shared {
        return Ok(());
    }
    let remote = observe::remote(ctx, cluster).await?;
    network::advance(ctx, &remote, cluster, found).await.map(|_| ())
}

async fn reconcile_load_balancer(
    ctx: &Context,
    shared: &Shared,
    mut cluster: LXCCluster,
    found: &References,
    valid: &ValidCluster,
) -> Result<Action, Failure> {
    let settled = advance(ctx, shared, &mut cluster, found, valid).await;
    cluster = info(ctx, shared, cluster, found).await?;
    match settled {
        Ok(outcome) => report::outcome(ctx, cluster, found, valid, outcome).await,
        Err(failure) => Err(report::failed(ctx, &cluster, failure).await),
    }
}

/// Creates the load balancer and keeps it serving: takes one step after the other until nothing is
/// left to do.
async fn advance(
    ctx: &Context,
    shared: &Shared,
    cluster: &mut LXCCluster,
    found: &References,
    valid: &ValidCluster,
) -> Result<Outcome, Failure> {
    let remote = observe::remote(ctx, cluster).await?;
    *cluster = wait_for_machines(ctx, cluster.clone()).await?;
    let network = network::advance(ctx, &remote, cluster, found).await?;
    for _ in 0..MAX_STEPS {
        let observed = instance::observe(ctx, &remote, &valid.name).await?;
        let inputs = match observed.instance {
            None => {
                let (addresses, network) = (&shared.addresses, network.as_deref());
                Some(observe::inputs(ctx, &remote, addresses, valid, network).await?)
            }
            Some(_) => None,
        };
        let wanted = validate::wanted(valid, found, inputs.as_ref(), &remote.facts())?;
        match plan(&wanted, &observed) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, cluster, valid, &observed, step, inputs).await?;
            }
            Plan::Serving(_) if give_up(ctx, &remote, cluster, valid, &observed).await? => {}
            settled => return Ok(Outcome::of(settled)),
        }
    }
    Ok(Outcome::too_many_steps())
}

/// Deletes a new instance whose address was taken by another one at the same time, so that it is
/// created again with another address.
async fn give_up(
    ctx: &Context,
    remote: &Remote,
    cluster: &mut LXCCluster,
    valid: &ValidCluster,
    observed: &Observed,
) -> Result<bool, Failure> {
    let Some(instance) = observed.instance.as_ref().filter(|_| !report::is_provisioned(cluster))
    else {
        return Ok(false);
    };
    let Some(whose) = addresses::address_conflict(remote, valid, instance).await? else {
        return Ok(false);
    };
    tracing::info!(instance = valid.name.as_str(), whose, "giving up a conflicting address");
    apply::step(ctx, remote, cluster, valid, observed, Step::Discard, None).await?;
    Ok(true)
}

async fn keep_ovn(
    ctx: &Context,
    shared: &Shared,
    mut cluster: LXCCluster,
    found: &References,
    valid: &ValidOvnCluster,
) -> Result<Action, Failure> {
    let settled = settle_ovn(ctx, shared, &mut cluster, found, valid).await;
    cluster = info(ctx, shared, cluster, found).await?;
    match settled {
        Ok(outcome) => report::ovn(ctx, cluster, found, valid, outcome).await,
        Err(failure) => Err(report::failed(ctx, &cluster, failure).await),
    }
}

async fn settle_ovn(
    ctx: &Context,
    shared: &Shared,
    cluster: &mut LXCCluster,
    found: &References,
    valid: &ValidOvnCluster,
) -> Result<ovn::Outcome, Failure> {
    let remote = observe::remote(ctx, cluster).await?;
    *cluster = wait_for_machines(ctx, cluster.clone()).await?;
    network::advance(ctx, &remote, cluster, found).await?;
    ovn::advance(ctx, &remote, &shared.addresses, cluster, found, valid).await
}

async fn delete_ovn(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    valid: &ValidOvnCluster,
) -> Result<Action, Failure> {
    report::deletion_begins(ctx, &mut cluster).await?;
    let gone = async {
        let remote = observe::remote(ctx, &cluster).await?;
        ovn::advance_deletion(ctx, &remote, &cluster, found, valid).await
    };
    match gone.await {
        Ok(_) => finish_deletion(ctx, &cluster, found).await,
        Err(failure) => Err(report::deletion_failed(ctx, &cluster, failure).await),
    }
}

/// Removes the network of an LXCCluster whose load balancer and machines are deleted, then the
/// finalizer.
async fn finish_deletion(
    ctx: &Context,
    cluster: &LXCCluster,
    found: &References,
) -> Result<Action, Failure> {
    let orphan = references::annotation(&cluster.metadata, keys::ORPHAN_INSTANCES_ANNOTATION);
    if orphan == Some("true") {
        return report::remove_finalizer_of(ctx, cluster).await;
    }
    match network::remove(ctx, cluster, found).await {
        Ok(None) => report::remove_finalizer_of(ctx, cluster).await,
        Ok(Some(message)) => report::network::remains(ctx, cluster, message).await,
        Err(failure) => Err(report::deletion_failed(ctx, cluster, failure).await),
    }
}

async fn delete(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    valid: &ValidCluster,
) -> Result<Action, Failure> {
    match advance_deletion(ctx, &mut cluster, found, valid).await {
        Ok(Outcome::Gone) => finish_deletion(ctx, &cluster, found).await,
        Ok(outcome) => report::deletion(ctx, &cluster, valid, outcome).await,
        Err(failure) => Err(report::deletion_failed(ctx, &cluster, failure).await),
    }
}

/// Deletes the load balancer.
async fn advance_deletion(
    ctx: &Context,
    cluster: &mut LXCCluster,
    found: &References,
    valid: &ValidCluster,
) -> Result<Outcome, Failure> {
    report::deletion_begins(ctx, cluster).await?;
    let remote = observe::remote(ctx, cluster).await?;
    for _ in 0..MAX_STEPS {
        let observed = instance::observe_record(ctx, &remote, &valid.name).await?;
        let wanted = validate::wanted(valid, found, None, &remote.facts())?;
        match plan(&wanted, &observed) {
            Plan::Do(step) => {
                apply::step(ctx, &remote, cluster, valid, &observed, step, None).await?;
            }
            settled => return Ok(Outcome::of(settled)),
        }
    }
    Ok(Outcome::too_many_steps())
}
