//! Ignores events that an object's own failed attempt caused.
//!
//! A server sends events for everything it does to an instance, including what it does and reverts
//! while a creation fails. If these events woke the object, it would be retried as fast as the
//! server can fail, regardless of the backoff.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    Stream, StreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    future, stream,
};
use tokio::time::Instant;

/// A server event that may wake an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wake<K> {
    /// Its instance changed, possibly because of its own reconcile.
    Instance(K),
    /// Its server connected or disconnected, or events were missed.
    Server(K),
}

/// Phase of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is being reconciled. `heard`: an event arrived in the meantime.
    Trying { heard: bool },
    /// It failed. Until this time its own events are ignored; then it is retried anyway.
    Failed { until: Instant },
}

/// Objects that are being reconciled or that wait after a failure.
#[derive(Clone, Debug)]
pub(crate) struct WakeFilter<K> {
    phases: Arc<Mutex<HashMap<K, Phase>>>,
    again: UnboundedSender<K>,
}

impl<K: Clone + Eq + Hash + Send + 'static> WakeFilter<K> {
    /// Creates the filter and the stream of the objects to wake. An event about the instance of an
    /// object that is being reconciled counts once the reconcile has succeeded, and not if it
    /// failed. An event during the backoff after a failure does not count.
    pub(crate) fn new(
        wakes: impl Stream<Item = Wake<K>> + Send + 'static,
    ) -> (Self, impl Stream<Item = K> + Send + 'static) {
        let (again, succeeded) = unbounded();
        let wake_filter = Self { phases: Arc::default(), again };
        let own = wake_filter.clone();
        let passed = wakes.filter_map(move |wake| {
            future::ready(match wake {
                Wake::Instance(key) => own.counts(&key).then_some(key),
                Wake::Server(key) => Some(key),
            })
        });
        (wake_filter, joined(passed, succeeded))
    }

    /// Creates a filter for a kind that no server wakes.
    pub(crate) fn none() -> Self {
        Self { phases: Arc::default(), again: unbounded().0 }
    }

    /// Records the start of a reconcile.
    pub(crate) fn begins(&self, key: &K) {
        self.with(|phases| phases.insert(key.clone(), Phase::Trying { heard: false }));
    }

    /// Records a success.
    pub(crate) fn succeeded(&self, key: &K) {
        if self.with(|phases| phases.remove(key)) == Some(Phase::Trying { heard: true }) {
            // At shutdown, nobody receives this.
            self.again.unbounded_send(key.clone()).ok();
        }
    }

    /// Records a failure. Events about the instance are ignored for `pause`.
    pub(crate) fn failed(&self, key: &K, pause: Duration) {
        let until = Instant::now() + pause;
        self.with(|phases| phases.insert(key.clone(), Phase::Failed { until }));
    }

    /// Forgets an object that was deleted.
    pub(crate) fn forget(&self, key: &K) {
        self.with(|phases| phases.remove(key));
    }

    fn counts(&self, key: &K) -> bool {
        self.with(|phases| match phases.get_mut(key) {
            None => true,
            Some(Phase::Trying { heard }) => {
                *heard = true;
                false
            }
            Some(Phase::Failed { until }) if Instant::now() < *until => false,
            Some(Phase::Failed { .. }) => {
                phases.remove(key);
                true
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<K, Phase>) -> T) -> T {
        act(&mut self.phases.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn joined<K>(
    passed: impl Stream<Item = K> + Send + 'static,
    succeeded: UnboundedReceiver<K>,
) -> impl Stream<Item = K> + Send + 'static
where
    K: Send + 'static,
{
    stream::select(passed, succeeded)
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    /// Returns the objects woken so far.
    fn woken(stream: &mut (impl Stream<Item = &'static str> + Unpin)) -> Vec<&'static str> {
        let mut found = Vec::new();
        while let Some(Some(key)) = future::FutureExt::now_or_never(stream.next()) {
            found.push(key);
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_a_failed_reconcile_do_not_shorten_its_backoff() {
        let (events, wakes) = mpsc::unbounded();
        let (wake_filter, stream) = WakeFilter::new(wakes);
        let mut stream = Box::pin(stream);
        let event = |wake: Wake<&'static str>| events.unbounded_send(wake).unwrap();

        event(Wake::Instance("a"));
        assert_eq!(woken(&mut stream), ["a"], "nothing is being tried");

        wake_filter.begins(&"a");
        event(Wake::Instance("a"));
        event(Wake::Instance("a"));
        assert!(woken(&mut stream).is_empty(), "it is being tried");
        wake_filter.succeeded(&"a");
        assert_eq!(woken(&mut stream), ["a"], "it succeeded, so the event may be somebody else's");
        wake_filter.begins(&"a");
        wake_filter.succeeded(&"a");
        assert!(woken(&mut stream).is_empty(), "nothing happened during the attempt");

        wake_filter.begins(&"a");
        event(Wake::Instance("a"));
        assert!(woken(&mut stream).is_empty());
        wake_filter.failed(&"a", PAUSE);
        event(Wake::Instance("a"));
        assert!(woken(&mut stream).is_empty(), "both events are its own");
        event(Wake::Instance("b"));
        event(Wake::Server("a"));
        assert_eq!(woken(&mut stream), ["b", "a"], "another object, and a server that came back");

        tokio::time::advance(PAUSE).await;
        event(Wake::Instance("a"));
        assert_eq!(woken(&mut stream), ["a"], "the pause is over");
    }
}
