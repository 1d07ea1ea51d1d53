//! Runs a controller: triggers, retries, logs and shutdown.

use std::{sync::Arc, time::Duration};

use capn_controller::{guard::catch_panic_in_task, informers::Informer, watch};
use capn_plan::diagnosis::Class;
use futures::StreamExt as _;
use kube::{
    Resource, ResourceExt as _,
    runtime::{
        controller::{Action, Config, Controller},
        reflector::{ObjectRef, Store},
    },
};
use serde::Serialize;
use tokio_util::task::TaskTracker;

use crate::{
    backoff::Backoff, changes::mark, context::Context, failure::Failure, limiter::ClusterLimiter,
    metrics::Outcome, wake_filter::WakeFilter,
};

/// Retry delay after a conflict.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

/// Creates a controller that is triggered by changes of everything except the status, which it
/// writes itself.
pub(crate) fn controller<K>(objects: &Informer<K>) -> (Controller<K>, Store<K>)
where
    K: watch::Kind + Serialize,
{
    (objects.controller_of_marked(without_status::<K>), objects.store())
}

/// Returns a hash of an object without its status and bookkeeping fields.
fn without_status<K: Resource + Serialize>(object: &K) -> Option<u64> {
    mark(object, &[])
}

/// Runs `reconcile` for every object of a controller until the context is cancelled.
///
/// # Guarantees
///
/// An object is reconciled by one task at a time. The number of concurrent reconciles is limited
/// per cluster, as the options say, and per namespace to a multiple of that. A temporary failure is
/// retried with exponential backoff, a failure that needs a change on the server at a fixed
/// interval, and a final failure only when the object changes or the resync is due. Events about an
/// object's own instance do not shorten these delays, because the failed attempt may have caused
/// them; only the fixed interval may be cut short once it has passed. A panic in a reconcile fails
/// that reconcile only. Returns after running reconciles have finished.
pub(crate) async fn drive<K, Fut>(
    controller: Controller<K>,
    wake_filter: WakeFilter<ObjectRef<K>>,
    ctx: Arc<Context>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Fut + Clone + Send + 'static,
) where
    K: watch::Kind,
    Fut: Future<Output = Result<Action, Failure>> + Send + 'static,
{
    let backoff = Arc::new(Backoff::new(ctx.options.retries));
    let failed = backoff.clone();
    let metrics = ctx.options.metrics.clone();
    let (resync, blocked) = (ctx.options.resync, ctx.options.retries.blocked);
    let (stop, stopping) = (ctx.stop.clone(), ctx.stop.clone());
    let reconciles = TaskTracker::new();
    let tracker = reconciles.clone();
    let limiter = Arc::new(ClusterLimiter::new(ctx.options.concurrency));
    let failing = wake_filter.clone();
    let (store, stopped) = (controller.store(), ctx.stop.clone());
    let known = store.clone();
    let forget = {
        let (backoff, wake_filter) = (backoff.clone(), wake_filter.clone());
        move |key: &ObjectRef<K>| {
            backoff.forget(key);
            wake_filter.forget(key);
        }
    };
    let of_deleted = forget.clone();
    ctx.own::<K>().on_deleted(move |object| of_deleted(&ObjectRef::from_obj(object)));
    let controller = controller
        // The limiter bounds the concurrency: with the runtime's own limit, one cluster could block
        // all others.
        .with_config(Config::default().concurrency(0))
        .graceful_shutdown_on(async move { stopping.cancelled().await })
        .run(
            move |object, ctx| {
                let key = ObjectRef::from_obj(object.as_ref());
                let (backoff, metrics, store) = (backoff.clone(), metrics.clone(), store.clone());
                let (limiter, stopped, reconcile) =
                    (limiter.clone(), stopped.clone(), reconcile.clone());
                let wake_filter = wake_filter.clone();
                tracker.track_future(async move {
                    let places = tokio::select! {
                        places = limiter.enter(object.meta()) => places,
                        () = stopped.cancelled() => return Ok(Action::await_change()),
                    };
                    // It may have changed while it waited.
                    let object = store.get(&key).unwrap_or(object);
                    wake_filter.begins(&key);
                    let running = metrics.reconciles().begin(&K::kind(&()));
                    let result = catch_panic_in_task(reconcile(object, ctx)).await;
                    let result = result.unwrap_or_else(|defect| Err(Failure::Defect(defect)));
                    drop(places);
                    running.ended(Outcome::of(&result, resync));
                    let action = result?;
                    wake_filter.succeeded(&key);
                    backoff.forget(&key);
                    Ok(action)
                })
            },
            move |object, failure: &Failure, _| {
                let key = ObjectRef::from_obj(object.as_ref());
                if failure.is_conflict() {
                    failing.failed(&key, CONFLICT_PAUSE);
                    return Action::requeue(CONFLICT_PAUSE);
                }
                let pause = match failure.class() {
                    Class::Final => resync,
                    Class::Blocked => blocked,
                    Class::Passing => failed.next(&key),
                };
                failing.failed(&key, pause.min(blocked));
                if known.get(&key).is_none() {
                    // It was deleted in the meantime.
                    forget(&key);
                    return Action::await_change();
                }
                tracing::warn!(
                    kind = %K::kind(&()),
                    namespace = object.namespace().unwrap_or_default(),
                    name = object.name_any(),
                    again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    error = failure.message(),
                    "reconcile failed"
                );
                Action::requeue(pause)
            },
            ctx,
        )
        .for_each(|_| std::future::ready(()));
    let finished = async {
        stop.cancelled().await;
        reconciles.close();
        reconciles.wait().await;
    };
    tokio::select! {
        () = controller => {}
        // Without this, the controller would not stop before its first list is complete.
        () = finished => {}
    }
}
