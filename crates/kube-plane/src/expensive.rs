//! Threads for work whose duration or recursion depth a client controls, so that it does not block
//! other requests.

use std::{sync::LazyLock, thread};

use tokio::sync::{Semaphore, oneshot};

use crate::status::{ApiError, Result};

/// Stack size. Rules and patterns are walked recursively. Only the used part takes memory.
const STACK: usize = 128 << 20;

/// Limits the number of threads with such work.
static THREADS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(8));

/// Runs work on its own thread. A panic in it is returned as an error.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let permit = THREADS.acquire().await;
    let (reply, answer) = oneshot::channel();
    let started = thread::Builder::new()
        .name("plane-heavy".to_owned())
        .stack_size(STACK)
        // The requester may no longer be waiting.
        .spawn(move || drop(reply.send(work())));
    if started.is_err() {
        return Err(ApiError::unavailable("cannot start a thread to validate the object"));
    }
    let answer = answer.await;
    drop(permit);
    answer.map_err(|_| ApiError::internal("the validation of the object failed"))
}

/// Runs work on a thread with a large stack, and blocks until it is done. `None` if it panicked.
pub(crate) fn run_blocking<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("plane-roomy".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}
