//! Runs a controller: retries with backoff, logs and shutdown.

use std::sync::Arc;
use std::time::Duration;

use capn_controller::guard::{Panicked, catch_panic_in_task};
use capn_controller::limiter::KeyedLimiter;
use capn_controller::watch::Kind;
use futures::{StreamExt as _, TryFuture};
use kube::ResourceExt as _;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Context;
use crate::backoff::Backoff;
use crate::error::chain;

/// Properties of an error that decide about the retry.
pub(crate) trait Retry: std::error::Error + From<Panicked> {
    /// Returns whether the object changed in the meantime. It is read again at once, which does not
    /// count as a failure.
    fn is_conflict(&self) -> bool;
    /// Returns the exceeded quota, if that is the cause.
    fn over_quota(&self) -> Option<String>;
}

/// Retry delay after a conflict.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

/// Runs `reconcile` for every object of a controller until `stop` is cancelled.
///
/// # Guarantees
///
/// An object is reconciled by one task at a time. The number of concurrent reconciles is limited
/// per namespace, as the options say, so that namespaces do not delay each other. A failed
/// reconcile is retried after a delay that doubles from 100 ms to 30 s with each consecutive
/// failure of the object, or at once if the object changes. A panic in a reconcile fails that
/// reconcile only. Returns after running reconciles have finished.
pub(crate) async fn drive<K, Fut>(
    controller: Controller<K>,
    ctx: Arc<Context>,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Fut + Clone + Send + 'static,
) where
    K: Kind,
    Fut: Future + TryFuture<Ok = Action> + Send + 'static,
    Fut: Future<Output = Result<Action, <Fut as TryFuture>::Error>>,
    <Fut as TryFuture>::Error: Retry + Send + 'static,
{
    let backoff = Arc::new(Backoff::default());
    let (failed, of_deleted) = (backoff.clone(), backoff.clone());
    ctx.all::<K>().on_deleted(move |object| of_deleted.forget(&key(object)));
    // The limiter bounds the concurrency: with the runtime's own limit, one namespace could block
    // all others.
    let config = Config::default().concurrency(0);
    let limiter = Arc::new(KeyedLimiter::new(usize::from(ctx.concurrency)));
    let (store, stopped) = (controller.store(), stop.clone());
    let known = store.clone();
    let stopping = stop.clone();
    let reconciles = TaskTracker::new();
    let tracker = reconciles.clone();
    let controller = controller
        .with_config(config)
        .graceful_shutdown_on(async move { stopping.cancelled().await })
        .run(
            move |object, ctx| {
                let key = key(object.as_ref());
                let (backoff, limiter, store) = (backoff.clone(), limiter.clone(), store.clone());
                let (stopped, reconcile) = (stopped.clone(), reconcile.clone());
                tracker.track_future(async move {
                    let place = tokio::select! {
                        place = limiter.enter(object.namespace().unwrap_or_default()) => place,
                        () = stopped.cancelled() => return Ok(Action::await_change()),
                    };
                    // It may have changed while it waited.
                    let object = store.get(&key).unwrap_or(object);
                    let done = catch_panic_in_task(reconcile(object, ctx)).await;
                    drop(place);
                    let action = done.map_err(<Fut as TryFuture>::Error::from)??;
                    backoff.forget(&key);
                    Ok(action)
                })
            },
            move |object, error: &<Fut as TryFuture>::Error, ctx| {
                if error.is_conflict() {
                    return Action::requeue(CONFLICT_PAUSE);
                }
                if let Some(quota) = error.over_quota() {
                    // Conditions and the log report it; a user must raise the quota first.
                    ctx.full_namespaces.note(&object.namespace().unwrap_or_default(), &quota);
                    return Action::requeue(crate::full_namespaces::PAUSE);
                }
                let key = key(object.as_ref());
                let pause = failed.next(&key);
                if known.get(&key).is_none() {
                    // It was deleted in the meantime.
                    failed.forget(&key);
                    return Action::await_change();
                }
                tracing::warn!(
                    kind = %K::kind(&()),
                    namespace = object.namespace().unwrap_or_default(),
                    name = object.name_any(),
                    again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    error = chain(error),
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

fn key<K: Kind>(object: &K) -> ObjectRef<K> {
    ObjectRef::from_obj(object)
}
