//! Keeps the events that an object's own failed attempt causes from starting the next attempt.
//!
//! A server tells of everything it does to an instance, also of what it did and took back while a
//! creation failed. Were such an event to wake the object, it would be tried again at once, as fast
//! as the server can fail, whatever pause was meant.

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

/// Why a server's events wake an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wake<K> {
    /// Something happened to its instance, which may have been its own doing.
    Instance(K),
    /// Its server came, went, or did what nobody heard of.
    Server(K),
}

/// Where an object is between two attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is being tried; whether an event came meanwhile.
    Trying { heard: bool },
    /// It failed. Its events are its own echo until then, when it is tried again anyway.
    Failed { until: Instant },
}

/// Which objects are being tried, and which pause after a failure.
#[derive(Clone, Debug)]
pub(crate) struct Echoes<K> {
    phases: Arc<Mutex<HashMap<K, Phase>>>,
    again: UnboundedSender<K>,
}

impl<K: Clone + Eq + Hash + Send + 'static> Echoes<K> {
    /// Together with the objects that `wakes` really wakes: an event about the instance of an
    /// object that is being tried counts once the attempt succeeded, and not at all if it failed;
    /// one that comes in the pause after a failure does not count.
    pub(crate) fn new(
        wakes: impl Stream<Item = Wake<K>> + Send + 'static,
    ) -> (Self, impl Stream<Item = K> + Send + 'static) {
        let (again, succeeded) = unbounded();
        let echoes = Self { phases: Arc::default(), again };
        let own = echoes.clone();
        let passed = wakes.filter_map(move |wake| {
            future::ready(match wake {
                Wake::Instance(key) => own.counts(&key).then_some(key),
                Wake::Server(key) => Some(key),
            })
        });
        (echoes, joined(passed, succeeded))
    }

    /// For a kind that no server wakes.
    pub(crate) fn none() -> Self {
        Self { phases: Arc::default(), again: unbounded().0 }
    }

    /// An attempt begins.
    pub(crate) fn begins(&self, key: &K) {
        self.with(|phases| phases.insert(key.clone(), Phase::Trying { heard: false }));
    }

    /// An attempt ended well.
    pub(crate) fn succeeded(&self, key: &K) {
        if self.with(|phases| phases.remove(key)) == Some(Phase::Trying { heard: true }) {
            // Nobody listens any more when the controller ends.
            self.again.unbounded_send(key.clone()).ok();
        }
    }

    /// An attempt failed; events about the instance do not count for `pause`.
    pub(crate) fn failed(&self, key: &K, pause: Duration) {
        let until = Instant::now() + pause;
        self.with(|phases| phases.insert(key.clone(), Phase::Failed { until }));
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

    /// What was woken by now.
    fn woken(stream: &mut (impl Stream<Item = &'static str> + Unpin)) -> Vec<&'static str> {
        let mut found = Vec::new();
        while let Some(Some(key)) = future::FutureExt::now_or_never(stream.next()) {
            found.push(key);
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failed_attempt_caused_does_not_cut_its_pause_short() {
        let (events, wakes) = mpsc::unbounded();
        let (echoes, stream) = Echoes::new(wakes);
        let mut stream = Box::pin(stream);
        let event = |wake: Wake<&'static str>| events.unbounded_send(wake).unwrap();

        event(Wake::Instance("a"));
        assert_eq!(woken(&mut stream), ["a"], "nothing is being tried");

        echoes.begins(&"a");
        event(Wake::Instance("a"));
        event(Wake::Instance("a"));
        assert!(woken(&mut stream).is_empty(), "it is being tried");
        echoes.succeeded(&"a");
        assert_eq!(woken(&mut stream), ["a"], "it succeeded, so the event may be somebody else's");
        echoes.begins(&"a");
        echoes.succeeded(&"a");
        assert!(woken(&mut stream).is_empty(), "nothing happened during the attempt");

        echoes.begins(&"a");
        event(Wake::Instance("a"));
        assert!(woken(&mut stream).is_empty());
        echoes.failed(&"a", PAUSE);
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
