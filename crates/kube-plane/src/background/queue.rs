//! Queues of background work.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::store::Key;

/// An item of work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Owners of an object.
    Owners(Key),
    /// Dependents of an object that waits for them.
    Waiting(Key),
    /// A namespace that is being deleted.
    Namespace(Arc<str>),
    /// A definition that is being deleted.
    Definition(Arc<str>),
    /// An event that has expired.
    Expired(Key),
    /// Aggregated cluster roles.
    Roles,
}

impl Work {
    /// The namespace whose users cause the work; empty for the cluster.
    fn namespace(&self) -> Arc<str> {
        match self {
            Self::Owners(key) | Self::Waiting(key) | Self::Expired(key) => {
                Arc::clone(&key.namespace)
            }
            Self::Namespace(name) => Arc::clone(name),
            Self::Definition(_) | Self::Roles => Arc::from(""),
        }
    }
}

/// Number of objects that an item of work deletes before the work of other namespaces.
pub(super) const DELETIONS_AT_ONCE: usize = 50;

/// When an item of work must be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Not before an object changes.
    Change,
    /// After the work of other namespaces.
    Turn,
    /// After [`REPORT_INTERVAL`](super::namespaces::REPORT_INTERVAL).
    Interval,
}

/// Queue of work items without duplicates. Namespaces take turns, so that one with much work does
/// not delay the others.
#[derive(Default)]
pub(super) struct WorkQueue {
    namespaces: HashMap<Arc<str>, VecDeque<Work>>,
    turns: VecDeque<Arc<str>>,
    known: HashSet<Work>,
}

impl WorkQueue {
    pub(super) fn push(&mut self, work: Work) {
        if !self.known.insert(work.clone()) {
            return;
        }
        let namespace = work.namespace();
        let queue = self.namespaces.entry(Arc::clone(&namespace)).or_default();
        if queue.is_empty() {
            self.turns.push_back(namespace);
        }
        queue.push_back(work);
    }

    pub(super) fn pop(&mut self) -> Option<Work> {
        let namespace = self.turns.pop_front()?;
        let queue = self.namespaces.get_mut(&namespace)?;
        let work = queue.pop_front()?;
        if queue.is_empty() {
            self.namespaces.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        self.known.remove(&work);
        Some(work)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

/// Work that is due after a delay, which is the same for all of it.
pub(super) struct Delayed {
    delay: Duration,
    items: VecDeque<(Instant, Work)>,
}

impl Delayed {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, items: VecDeque::new() }
    }

    pub(super) fn push(&mut self, work: Work) {
        self.items.push_back((Instant::now() + self.delay, work));
    }

    /// Moves what is due to the queue.
    pub(super) fn move_due(&mut self, queue: &mut WorkQueue) {
        let now = Instant::now();
        while let Some((_, work)) = self.items.pop_front_if(|(at, _)| *at <= now) {
            queue.push(work);
        }
    }

    /// The time at which the next item is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.items.front().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(namespace: &str, name: &str) -> Work {
        Work::Owners(Key { resource: "a".into(), namespace: namespace.into(), name: name.into() })
    }

    #[test]
    fn namespaces_take_turns() {
        let mut queue = WorkQueue::default();
        for number in 0..3 {
            queue.push(owners("a", &number.to_string()));
            queue.push(owners("a", "0"));
        }
        queue.push(owners("b", "0"));
        queue.push(Work::Roles);
        let order: Vec<Work> = std::iter::from_fn(|| queue.pop()).collect();
        let expected =
            [owners("a", "0"), owners("b", "0"), Work::Roles, owners("a", "1"), owners("a", "2")];
        assert_eq!(order, expected);
        assert!(queue.is_empty());
        queue.push(owners("a", "0"));
        assert_eq!(queue.pop(), Some(owners("a", "0")));
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_work_waits() {
        let (mut queue, mut delayed) = (WorkQueue::default(), Delayed::new(Duration::from_secs(1)));
        delayed.push(Work::Roles);
        delayed.move_due(&mut queue);
        assert!(queue.is_empty());
        assert_eq!(delayed.next(), Some(Instant::now() + Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        delayed.move_due(&mut queue);
        assert_eq!((queue.pop(), delayed.next()), (Some(Work::Roles), None));
    }
}
