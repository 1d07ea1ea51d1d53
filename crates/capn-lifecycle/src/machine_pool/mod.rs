//! The MachinePool controller.
//!
//! The provider of a pool creates its machines, each with an infrastructure object. This controller
//! creates a Machine for each of these objects, so that a node of a pool is drained, monitored and
//! deleted like any other. If a provider has no such objects (`status.infrastructureMachineKind`),
//! only its counts are copied, and nothing is known about its nodes.
//!
//! A pool is deleted in this order: its machines, which are drained, then the infrastructure
//! object, then the bootstrap object.

mod apply;
mod machines;
mod observe;
mod plan;
mod report;

use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachinePool, labels};
use capn_controller::watch::{self, matching};
use futures::StreamExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::external::ExternalEvent;
use crate::objects::{cluster_essence, is_paused, label, label_value};

/// Interval for checking whether a blocker is gone, for which there is no event.
const BLOCKED_RECHECK: Duration = Duration::from_secs(15);

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let pools = ctx.all::<MachinePool>();
    let store = pools.store();
    let (of_cluster, of_machine) = (store.clone(), store.clone());
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    let controller = pools
        .controller()
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            matching(&of_cluster, |pool| {
                pool.metadata.namespace == cluster.metadata.namespace
                    && pool.spec.cluster_name == cluster.name_any()
            })
        }))
        .reconcile_on(watch::concerning(
            ctx.all::<Machine>().touched(),
            move |machine: &Machine| {
                let pool = label(machine.meta(), labels::POOL_NAME);
                labelled(&of_machine, machine.metadata.namespace.as_deref(), pool)
            },
        ))
        .reconcile_on(external_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// Reconciles one pool.
async fn reconcile(pool: Arc<MachinePool>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(pool) = observe::current(&ctx, &pool).await? else {
        return Ok(Action::await_change());
    };
    let cluster = observe::cluster(&ctx, &pool).await?;
    if is_paused(cluster.as_ref(), pool.meta()) {
        report::paused(&ctx, &pool).await?;
        return Ok(Action::await_change());
    }
    let observed = observe::observe(&ctx, &pool, cluster).await?;
    let mut plan = plan::plan(&pool, &observed);
    let applied = match apply::apply(&ctx, pool.clone(), &mut plan).await {
        Ok(applied) => applied,
        // It is retried in any case, but a user may have to act first.
        Err(error) => {
            report::failed(&ctx, &pool, &observed, plan, &error).await?;
            return Err(error);
        }
    };
    let Some(pool) = applied else { return Ok(Action::await_change()) };
    report::write(&ctx, &pool, &observed, &plan).await?;
    let recheck = if plan.blocked.is_empty() { ctx.resync } else { BLOCKED_RECHECK };
    Ok(Action::requeue(recheck))
}

/// Returns the pools that a label names.
fn labelled(
    store: &Store<MachinePool>,
    namespace: Option<&str>,
    value: Option<&str>,
) -> Vec<ObjectRef<MachinePool>> {
    let (Some(_), Some(value)) = (namespace, value) else { return Vec::new() };
    matching(store, |pool| {
        pool.metadata.namespace.as_deref() == namespace && label_value(&pool.name_any()) == value
    })
}

/// Returns the pools whose bootstrap object, infrastructure object or machines changed.
fn external_events(
    ctx: &Context,
    store: Store<MachinePool>,
) -> impl futures::Stream<Item = ObjectRef<MachinePool>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(event) => {
                let pool = label(&event.meta, labels::POOL_NAME);
                let mut found = labelled(&store, event.meta.namespace.as_deref(), pool);
                found.extend(matching(&store, |pool| refers_to(pool, &event)));
                found
            }
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn refers_to(pool: &MachinePool, event: &ExternalEvent) -> bool {
    let spec = &pool.spec.template.spec;
    pool.metadata.namespace == event.meta.namespace
        && (event.is(&spec.infrastructure_ref)
            || spec.bootstrap.config_ref.as_ref().is_some_and(|r| event.is(r)))
}
