//! Work whose length or depth a client decides, away from the tasks that serve all others.

use std::{sync::LazyLock, thread};

use tokio::sync::{Semaphore, oneshot};

use crate::status::{ApiError, Result};

/// Rules and patterns are walked by recursion. Only what is used of it takes memory.
const STACK: usize = 128 << 20;

/// Threads with such work at the same time. The system shares the processors among them.
static THREADS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(8));

/// Runs work on a thread of its own. A panic there is an error here.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let permit = THREADS.acquire().await;
    let (reply, answer) = oneshot::channel();
    let started = thread::Builder::new()
        .name("plane-heavy".to_owned())
        .stack_size(STACK)
        // Whoever asked may have stopped to wait.
        .spawn(move || drop(reply.send(work())));
    if started.is_err() {
        return Err(ApiError::unavailable("no thread can be started to check the object"));
    }
    let answer = answer.await;
    drop(permit);
    answer.map_err(|_| ApiError::internal("the check of the object has failed"))
}

/// Runs work where there is room for recursion, and waits. `None`: it panicked.
pub(crate) fn roomy<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("plane-roomy".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}
