//! Panic isolation: a panic fails the reconcile in which it happens, and nothing else.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use capn_text::display;
use futures::FutureExt as _;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::lists;

/// Delay before a controller that panicked outside of a reconcile is restarted.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// A reconcile panicked. Its effects up to that point remain, as if the process had been killed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "capn panicked while it reconciled this object: {0}; please report this bug, and change the object to work around it"
)]
pub struct Panicked(String);

impl Panicked {
    fn of(payload: &(dyn Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no panic message");
        Self(display::line(said, display::SERVER_TEXT).into_owned())
    }
}

/// Runs a future and converts a panic in it to an error.
///
/// # Errors
///
/// [`Panicked`] if the future panicked.
pub async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    // An unfinished future leaves the same state as a killed process: all persistent state is
    // written so that work can be resumed, and poisoned locks are recovered.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| Panicked::of(payload.as_ref()))
}

/// Like [`catch_panic`], but in a separate task. A controller runs all its reconciles in one task, where
/// each would wait for the computations of the others. Large lists are read [in
/// turn](lists::in_turn). The work is cancelled when this future is dropped.
///
/// # Errors
///
/// [`Panicked`] if the future panicked.
pub async fn catch_panic_in_task<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Panicked> {
    let task =
        AbortOnDropHandle::new(tokio::spawn(catch_panic(lists::in_turn(work)).in_current_span()));
    match task.await {
        Ok(done) => done,
        Err(error) => Err(panic_of(error).await),
    }
}

/// Runs a computation on a separate thread: one that takes longer than some milliseconds would delay
/// the other tasks of the runtime. It runs to its end even if this future is dropped.
///
/// # Errors
///
/// [`Panicked`] if the computation panicked.
pub async fn catch_panic_in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => Err(panic_of(error).await),
    }
}

/// Returns the panic of a task. Never returns if the runtime is shutting down, and the caller with
/// it.
async fn panic_of(error: JoinError) -> Panicked {
    match error.try_into_panic() {
        Ok(payload) => Panicked::of(payload.as_ref()),
        Err(_) => std::future::pending().await,
    }
}

/// Runs a controller until it ends. If it panics outside of a reconcile, it is restarted.
pub async fn supervise<Fut: Future<Output = ()>>(name: &'static str, controller: impl Fn() -> Fut) {
    while let Err(defect) = catch_panic(controller()).await {
        tracing::error!(controller = name, %defect, "restarting a controller");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_separate_task_delays_no_other_and_ends_with_its_caller() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let work = catch_panic_in_task(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), work).await.is_err());
        gone.await.unwrap_err();
        assert!(
            catch_panic_in_task(async { panic!("it is broken") })
                .await
                .unwrap_err()
                .to_string()
                .contains("it is broken")
        );
        assert_eq!(catch_panic_in_task(async { 5 }).await, Ok(5));
    }

    #[tokio::test]
    async fn a_long_computation_delays_no_task_and_its_panic_is_an_error() {
        let (done, waits) = std::sync::mpsc::channel();
        // The runtime has one thread: the computation ends only if another task runs meanwhile.
        let computation = catch_panic_in_thread(move || waits.recv());
        let (computed, ()) = tokio::join!(computation, async { done.send(7).unwrap() });
        assert_eq!(computed.unwrap(), Ok(7));
        let panicked = catch_panic_in_thread(|| panic!("it is broken")).await;
        let panicked: Result<(), _> = panicked;
        assert!(panicked.unwrap_err().to_string().contains("it is broken"));
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error_with_its_message() {
        let known: Result<(), _> =
            catch_panic(async { panic!("index\x1b out of {}", "range") }).await;
        let said = known.unwrap_err().to_string();
        assert!(said.contains("index� out of range"), "{said}");
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_controller_is_restarted() {
        let begun = AtomicUsize::new(0);
        supervise("x", || async {
            assert!(begun.fetch_add(1, Ordering::Relaxed) > 1, "not yet");
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
