//! Runs a controller: what wakes it, retries, logs, and its end.

use std::{error::Error as _, fmt::Debug, sync::Arc, time::Duration};

use capn_controller::{guard::apart, watch};
use capn_plan::diagnosis::Class;
use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        controller::{self, Action, Config, Controller},
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::task::TaskTracker;

use crate::{
    backoff::Backoff,
    changes::mark,
    context::Context,
    echoes::Echoes,
    failure::{Failure, chain},
    lanes::ClusterLanes,
    metrics::Outcome,
};

/// How long to wait after somebody else changed an object.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

/// A controller that is woken by changes of anything but the status, which it writes itself.
pub(crate) fn controller<K>(api: Api<K>, config: watcher::Config) -> (Controller<K>, Store<K>)
where
    K: watch::Kind + Serialize,
{
    let (reader, writer) = reflector::store();
    let changes = watch::watcher(api, config)
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(without_status::<K>, Default::default());
    (Controller::for_stream(changes, reader.clone()), reader)
}

/// A mark that changes with everything of an object but its status and bookkeeping.
fn without_status<K: Resource + Serialize>(object: &K) -> Option<u64> {
    mark(object, &[])
}

/// What the API server said, or why it said nothing. The library's own text has its source twice.
fn watch_error(error: &watcher::Error) -> String {
    let answer = match error {
        watcher::Error::WatchError(answer) => Some(answer),
        watcher::Error::InitialListFailed(kube::Error::Api(answer))
        | watcher::Error::WatchStartFailed(kube::Error::Api(answer)) => Some(answer),
        _ => None,
    };
    match answer {
        // The text of an API server that does not know a kind is that of any wrong path.
        Some(answer) if answer.code == 404 => "the API server does not know this kind: install \
            the definitions of Cluster API (`clusterctl init`) and those of the provider (`capn \
            generate provider`)"
            .to_owned(),
        Some(answer) => answer.message.clone(),
        None => chain(error.source().unwrap_or(error)),
    }
}

/// Runs `reconcile` for every object of a controller until the context says stop.
///
/// # Guarantees
///
/// One object is reconciled by one task at a time, and so many of a cluster at once as the options
/// say, and of a namespace some times as many. A passing failure is tried again after a pause that grows with each in a row, one that needs
/// a change on the server at a steady pace, a final one not before the object changes or the resync
/// is due. Events about an object's own instance cut none of these pauses short but the last, after
/// the steady pause: they may be what the failed attempt itself caused. A reconcile that meets a
/// defect of capn has failed, and no other. Returns after running reconciles have finished.
pub(crate) async fn drive<K, Fut>(
    controller: Controller<K>,
    echoes: Echoes<ObjectRef<K>>,
    ctx: Arc<Context>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Fut + Clone + Send + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, Failure>> + Send + 'static,
{
    let backoff = Arc::new(Backoff::new(ctx.options.retries));
    let failed = backoff.clone();
    let metrics = ctx.options.metrics.clone();
    let (resync, blocked) = (ctx.options.resync, ctx.options.retries.blocked);
    let (stop, stopping) = (ctx.stop.clone(), ctx.stop.clone());
    let reconciles = TaskTracker::new();
    let tracker = reconciles.clone();
    let lanes = Arc::new(ClusterLanes::new(ctx.options.concurrency));
    let failing = echoes.clone();
    let (store, stopped) = (controller.store(), ctx.stop.clone());
    let controller = controller
        // The lanes limit it: the runtime's own limit would let one cluster hold up all others.
        .with_config(Config::default().concurrency(0))
        .graceful_shutdown_on(async move { stopping.cancelled().await })
        .run(
            move |object, ctx| {
                let key = ObjectRef::from_obj(object.as_ref());
                let (backoff, metrics, store) = (backoff.clone(), metrics.clone(), store.clone());
                let (lanes, stopped, reconcile) =
                    (lanes.clone(), stopped.clone(), reconcile.clone());
                let echoes = echoes.clone();
                tracker.track_future(async move {
                    let places = tokio::select! {
                        places = lanes.enter(object.meta()) => places,
                        () = stopped.cancelled() => return Ok(Action::await_change()),
                    };
                    // It may have changed while it waited.
                    let object = store.get(&key).unwrap_or(object);
                    echoes.begins(&key);
                    let running = metrics.reconciles().begin(&K::kind(&()));
                    let result = apart(reconcile(object, ctx)).await;
                    let result = result.unwrap_or_else(|defect| Err(Failure::Defect(defect)));
                    drop(places);
                    running.ended(Outcome::of(&result, resync));
                    let action = result?;
                    echoes.succeeded(&key);
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
        .for_each(|outcome| {
            if let Err(controller::Error::QueueError(error)) = &outcome {
                let kind = K::kind(&());
                tracing::warn!(%kind, error = watch_error(error), "cannot watch; trying again");
            }
            std::future::ready(())
        });
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

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_kind_that_is_not_installed_is_told_with_what_installs_it() {
        let answer =
            |code| Box::new(Status { code, message: "said".to_owned(), ..Status::default() });
        for (error, text) in [
            (watcher::Error::InitialListFailed(kube::Error::Api(answer(404))), "clusterctl init"),
            (watcher::Error::InitialListFailed(kube::Error::Api(answer(403))), "said"),
            (watcher::Error::WatchError(answer(410)), "said"),
        ] {
            assert!(watch_error(&error).contains(text), "{error}");
        }
    }
}
