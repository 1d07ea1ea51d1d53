//! Fair queue of API server requests: namespaces take turns, so that one with many objects does not
//! block the others under the rate limit.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Notify, oneshot};

/// Waiting requests, by namespace.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    queues: Mutex<Queues>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    waiting: HashMap<String, VecDeque<oneshot::Sender<()>>>,
    /// Namespaces with waiting requests, the next one first.
    order: VecDeque<String>,
}

impl Queues {
    fn push(&mut self, namespace: &str, request: oneshot::Sender<()>) {
        if let Some(queue) = self.waiting.get_mut(namespace) {
            queue.push_back(request);
            return;
        }
        self.waiting.insert(namespace.to_owned(), [request].into());
        self.order.push_back(namespace.to_owned());
    }

    fn pop(&mut self) -> Option<oneshot::Sender<()>> {
        let namespace = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&namespace)?;
        let request = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        request
    }
}

impl FairQueue {
    /// Waits for a turn. Requests of one namespace are served in FIFO order.
    ///
    /// # Cancellation
    ///
    /// Safe: the turn goes to the next request.
    pub(crate) async fn wait(&self, namespace: &str) {
        let (request, turn) = oneshot::channel();
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(namespace, request);
        self.arrived.notify_one();
        // An error means that the queue is no longer served: the process is shutting down.
        turn.await.ok();
    }

    /// Releases the next request that is still waiting. Returns false if there is none.
    fn give(&self) -> bool {
        loop {
            let next = self.queues.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(request) = next else { return false };
            if request.send(()).is_ok() {
                return true;
            }
        }
    }

    /// Releases one request each time that `ready` resolves, for as long as it is polled.
    ///
    /// # Cancellation
    ///
    /// Safe; no request is released after that.
    pub(crate) async fn give_all<Fut: Future<Output = ()>>(
        self: Arc<Self>,
        ready: impl Fn() -> Fut,
    ) {
        loop {
            // Registered before the check, so that no arrival is missed.
            let arrived = self.arrived.notified();
            if self.is_empty() {
                arrived.await;
                continue;
            }
            ready().await;
            self.give();
        }
    }

    fn is_empty(&self) -> bool {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).order.is_empty()
    }
}

/// Returns the namespace in a request's path. Empty if there is none.
pub(crate) fn namespace(path: &str) -> &str {
    let mut parts = path.split('/').skip_while(|part| *part != "namespaces").skip(1);
    parts.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_namespace_is_parsed_from_a_path() {
        for (path, expected) in [
            ("/apis/cluster.x-k8s.io/v1beta2/namespaces/lab/machines/a", "lab"),
            ("/api/v1/namespaces/lab/secrets", "lab"),
            ("/api/v1/namespaces/lab", "lab"),
            ("/api/v1/namespaces", ""),
            ("/apis/cluster.x-k8s.io/v1beta2/machines", ""),
            ("/healthz", ""),
        ] {
            assert_eq!(namespace(path), expected, "{path}");
        }
    }

    #[test]
    fn a_namespace_with_many_requests_waits_for_its_turn() {
        let fair_queue = FairQueue::default();
        let wait = |namespace: &'static str| {
            let mut wait = Box::pin(fair_queue.wait(namespace));
            assert!(wait.as_mut().now_or_never().is_none());
            wait
        };
        let mut many: Vec<_> = (0..100).map(|_| wait("many")).collect();
        let mut one = wait("one");
        drop(many.remove(1));
        assert!(fair_queue.give());
        assert!(many[0].as_mut().now_or_never().is_some(), "who came first");
        assert!(fair_queue.give());
        assert!(one.as_mut().now_or_never().is_some(), "then another namespace");
        assert!(fair_queue.give());
        assert!(many[1].as_mut().now_or_never().is_some(), "not the one that gave up");
        for _ in 2..99 {
            assert!(fair_queue.give());
        }
        assert!(!fair_queue.give());
        assert!(fair_queue.is_empty());
    }

    #[tokio::test]
    async fn requests_are_released_in_order() {
        let fair_queue = Arc::new(FairQueue::default());
        let giver = tokio::spawn(Arc::clone(&fair_queue).give_all(|| std::future::ready(())));
        fair_queue.wait("a").await;
        fair_queue.wait("b").await;
        giver.abort();
    }
}
