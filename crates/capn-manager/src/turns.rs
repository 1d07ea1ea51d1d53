//! Whose request to the API server is next: namespaces take turns, so that one with many objects does not
//! hold up the others when the rate of requests is limited.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Notify, oneshot};

/// Requests that wait, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    queues: Mutex<Queues>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    waiting: HashMap<String, VecDeque<oneshot::Sender<()>>>,
    /// Namespaces with requests that wait, the next one first.
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

impl Turns {
    /// Waits until it is a request's turn. Within a namespace who came first goes first.
    ///
    /// # Cancellation
    ///
    /// Safe: the turn goes to the next.
    pub(crate) async fn wait(&self, namespace: &str) {
        let (request, turn) = oneshot::channel();
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(namespace, request);
        self.arrived.notify_one();
        // An error means that nobody gives turns any more: the process is about to end.
        turn.await.ok();
    }

    /// Lets the next request go that is still wanted. False if there is none.
    fn give(&self) -> bool {
        loop {
            let next = self.queues.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(request) = next else { return false };
            if request.send(()).is_ok() {
                return true;
            }
        }
    }

    /// Gives a turn each time that `ready` comes back, for as long as it is polled.
    ///
    /// # Cancellation
    ///
    /// Safe; nobody gets a turn from then on.
    pub(crate) async fn give_all<Fut: Future<Output = ()>>(
        self: Arc<Self>,
        ready: impl Fn() -> Fut,
    ) {
        loop {
            // Before it is known whether somebody waits, so that no arrival is missed.
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

/// The namespace that a request's path is about; empty if it is about none.
pub(crate) fn namespace(path: &str) -> &str {
    let mut parts = path.split('/').skip_while(|part| *part != "namespaces").skip(1);
    parts.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_path_tells_its_namespace() {
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
        let turns = Turns::default();
        let wait = |namespace: &'static str| {
            let mut wait = Box::pin(turns.wait(namespace));
            assert!(wait.as_mut().now_or_never().is_none());
            wait
        };
        let mut many: Vec<_> = (0..100).map(|_| wait("many")).collect();
        let mut one = wait("one");
        drop(many.remove(1));
        assert!(turns.give());
        assert!(many[0].as_mut().now_or_never().is_some(), "who came first");
        assert!(turns.give());
        assert!(one.as_mut().now_or_never().is_some(), "then another namespace");
        assert!(turns.give());
        assert!(many[1].as_mut().now_or_never().is_some(), "not the one that gave up");
        for _ in 2..99 {
            assert!(turns.give());
        }
        assert!(!turns.give());
        assert!(turns.is_empty());
    }

    #[tokio::test]
    async fn turns_are_given_as_they_are_asked_for() {
        let turns = Arc::new(Turns::default());
        let giver = tokio::spawn(Arc::clone(&turns).give_all(|| std::future::ready(())));
        turns.wait("a").await;
        turns.wait("b").await;
        giver.abort();
    }
}
