//! Runs a controller: retries with a growing pause, logs, stops when told to.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use capn_controller::guard::{Panicked, apart};
use capn_controller::lanes::Lanes;
use futures::{StreamExt as _, TryFuture};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Context;
use crate::backoff::Backoff;
use crate::error::chain;

/// What a retry wants to know about an error.
pub(crate) trait Retry: std::error::Error + From<Panicked> {
    /// Someone else changed the object: read again at once, and do not call it a failure.
    fn is_conflict(&self) -> bool;
    /// What the namespace is full of, if that is why.
    fn over_quota(&self) -> Option<String>;
}

/// How long to wait after somebody else changed an object.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

/// Runs `reconcile` for every object of a controller until `stop`.
///
/// # Guarantees
///
/// One object is reconciled by one task at a time, and so many of a namespace at once as the options say:
/// the objects of a namespace wait for each other, not for those of others. A failed reconcile is tried again after a pause
/// that doubles from 100 ms to 30 s for each object in a row of failures, or at once when anything
/// about the object changes. One that meets a defect of capn has failed, and no other. Returns after
/// running reconciles have finished.
pub(crate) async fn drive<K, Fut>(
    controller: Controller<K>,
    ctx: Arc<Context>,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Fut + Clone + Send + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin,
    Fut: Future + TryFuture<Ok = Action> + Send + 'static,
    Fut: Future<Output = Result<Action, <Fut as TryFuture>::Error>>,
    <Fut as TryFuture>::Error: Retry + Send + 'static,
{
    let backoff = Arc::new(Backoff::default());
    let failed = backoff.clone();
    // The lanes limit it: the runtime's own limit would let one namespace hold up all others.
    let config = Config::default().concurrency(0);
    let lanes = Arc::new(Lanes::new(usize::from(ctx.concurrency)));
    let (store, stopped) = (controller.store(), stop.clone());
    let stopping = stop.clone();
    let reconciles = TaskTracker::new();
    let tracker = reconciles.clone();
    let controller = controller
        .with_config(config)
        .graceful_shutdown_on(async move { stopping.cancelled().await })
        .run(
            move |object, ctx| {
                let key = key(object.as_ref());
                let (backoff, lanes, store) = (backoff.clone(), lanes.clone(), store.clone());
                let (stopped, reconcile) = (stopped.clone(), reconcile.clone());
                tracker.track_future(async move {
                    let place = tokio::select! {
                        place = lanes.enter(object.namespace().unwrap_or_default()) => place,
                        () = stopped.cancelled() => return Ok(Action::await_change()),
                    };
                    // It may have changed while it waited.
                    let object = store.get(&key).unwrap_or(object);
                    let done = apart(reconcile(object, ctx)).await;
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
                if let Some(full) = error.over_quota() {
                    // Conditions and one line of the log say it; somebody has to make room first.
                    ctx.full.note(&object.namespace().unwrap_or_default(), &full);
                    return Action::requeue(crate::full::PAUSE);
                }
                let pause = failed.next(&key(object.as_ref()));
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
        // The controller itself does not end when it is told to before its first list is complete.
        () = finished => {}
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> ObjectRef<K> {
    ObjectRef::from_obj(object)
}
