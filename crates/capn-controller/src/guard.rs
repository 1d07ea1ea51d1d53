//! What a defect costs: the reconcile that met it, and nothing else.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use capn_text::shown;
use futures::FutureExt as _;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// Pause before a controller that met a defect outside of a reconcile begins again.
const PAUSE: Duration = Duration::from_secs(1);

/// A reconcile met a defect of capn. What it did until then stays, as when the process is killed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "capn has a defect that this object meets: {0}; report it, and change the object meanwhile"
)]
pub struct Panicked(String);

impl Panicked {
    fn of(payload: &(dyn Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("it says nothing of itself");
        Self(shown::line(said, shown::SAID).into_owned())
    }
}

/// Does the work, and gives a defect in it back as an error.
///
/// # Errors
///
/// [`Panicked`].
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    // What the work has left half done is what it leaves when the process is killed: everything that
    // lasts is written to be resumed, and locks are taken whatever their last holder met.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| Panicked::of(payload.as_ref()))
}

/// As [`caught`], in a task of its own: a controller has one for all its reconciles, in which each waits
/// for what the others calculate. The work ends when this future is dropped.
///
/// # Errors
///
/// [`Panicked`].
pub async fn apart<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Panicked> {
    let task = AbortOnDropHandle::new(tokio::spawn(caught(work).in_current_span()));
    match task.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => Err(Panicked::of(payload.as_ref())),
            // The runtime ends, and whoever waits with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs a controller until it ends by itself; one that meets a defect outside of a reconcile begins
/// again.
pub async fn kept<Fut: Future<Output = ()>>(name: &'static str, controller: impl Fn() -> Fut) {
    while let Err(defect) = caught(controller()).await {
        tracing::error!(controller = name, %defect, "a controller begins again");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_apart_holds_up_nobody_and_ends_with_who_waits_for_it() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let work = apart(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), work).await.is_err());
        gone.await.unwrap_err();
        assert!(
            apart(async { panic!("it is broken") })
                .await
                .unwrap_err()
                .to_string()
                .contains("it is broken")
        );
        assert_eq!(apart(async { 5 }).await, Ok(5));
    }

    #[tokio::test]
    async fn a_defect_is_an_error_that_says_what_it_met() {
        let known: Result<(), _> = caught(async { panic!("index\x1b out of {}", "range") }).await;
        let said = known.unwrap_err().to_string();
        assert!(said.contains("index� out of range"), "{said}");
        assert_eq!(caught(async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_meets_a_defect_begins_again() {
        let begun = AtomicUsize::new(0);
        kept("x", || async {
            assert!(begun.fetch_add(1, Ordering::Relaxed) > 1, "not yet");
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
