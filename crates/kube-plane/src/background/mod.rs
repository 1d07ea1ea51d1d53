//! Background work: garbage collection, deletion of namespaces and definitions, aggregated roles,
//! and expiry of events.
//!
//! One task follows all events. It decides everything from the current state, so it may miss events
//! and may be killed at any time: at the start, and when it has fallen behind, it checks every
//! object.

mod definitions;
mod expiry;
mod garbage;
mod namespaces;
mod roles;

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    api::Api,
    rbac::CLUSTER_ROLES,
    registry::CRDS,
    status::ApiError,
    store::{Change, Event, Key, NAMESPACES},
};

/// Delay before a retry of failed work.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Interval of full checks, which repair what was missed.
const RESYNC_INTERVAL: Duration = Duration::from_secs(600);

/// Interval of event expiry.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(300);

/// Starts the task, which runs until the token is cancelled.
pub(crate) fn spawn(api: &Arc<Api>, shutdown: &CancellationToken) {
    let worker = Worker {
        api: Arc::clone(api),
        work: WorkQueue::default(),
        later: Vec::new(),
        reports: namespaces::ReportTimes::default(),
    };
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = worker.run() => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// An item of work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// Owners of an object.
    Owners(Key),
    /// Dependents of an object that waits for them.
    Waiting(Key),
    /// A namespace that is being deleted.
    Namespace(Arc<str>),
    /// A definition that is being deleted.
    Definition(Arc<str>),
    /// Aggregated cluster roles.
    Roles,
}

/// Queue of work items without duplicates.
#[derive(Default)]
struct WorkQueue {
    order: VecDeque<Work>,
    known: HashSet<Work>,
}

impl WorkQueue {
    fn push(&mut self, work: Work) {
        if self.known.insert(work.clone()) {
            self.order.push_back(work);
        }
    }

    fn pop(&mut self) -> Option<Work> {
        let work = self.order.pop_front()?;
        self.known.remove(&work);
        Some(work)
    }
}

struct Worker {
    api: Arc<Api>,
    work: WorkQueue,
    /// Namespaces to check again after a delay.
    later: Vec<Work>,
    reports: namespaces::ReportTimes,
}

impl Worker {
    async fn run(mut self) {
        let mut changes = self.api.store.subscribe();
        let mut position = self.enqueue_all();
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut retry_at = None;
        loop {
            changes.mark_unchanged();
            // Also while new changes keep arriving.
            if retry_at.is_some_and(|at| at <= Instant::now()) {
                retry_at = None;
                self.later.drain(..).for_each(|work| self.work.push(work));
            }
            match self.api.store.since(position, None) {
                Ok((revision, events)) => {
                    position = revision;
                    for event in events {
                        self.follow(&event);
                    }
                }
                Err(_) => position = self.enqueue_all(),
            }
            let failed = self.drain().await;
            if !self.later.is_empty() {
                retry_at.get_or_insert_with(|| Instant::now() + namespaces::REPORT_INTERVAL);
            }
            if changes.has_changed().unwrap_or(false) {
                continue;
            }
            let pause = if failed { RETRY_DELAY } else { RESYNC_INTERVAL };
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                _ = expiry.tick() => {
                    if let Err(error) = expiry::expire(&self.api, jiff::Timestamp::now()).await {
                        tracing::warn!(error = %error, "cannot delete old events");
                    }
                }
                () = until(retry_at) => {}
                () = tokio::time::sleep(pause) => position = self.enqueue_all(),
            }
        }
    }

    /// Processes the queue. Returns whether some work failed and must be retried.
    async fn drain(&mut self) -> bool {
        let mut failed = Vec::new();
        while let Some(work) = self.work.pop() {
            if let Err(error) = self.work_on(&work).await {
                // Others may have changed the objects: the next attempt decides again.
                if !error.is_not_found() && !error.is_conflict() {
                    tracing::warn!(?work, error = %error, "background work failed");
                }
                if !error.is_not_found() {
                    failed.push(work);
                }
            }
        }
        let any = !failed.is_empty();
        failed.into_iter().for_each(|work| self.work.push(work));
        any
    }

    async fn work_on(&mut self, work: &Work) -> Result<(), ApiError> {
        match work {
            Work::Owners(key) => garbage::check_owners(&self.api, key).await,
            Work::Waiting(key) => garbage::check_dependents(&self.api, key).await,
            Work::Namespace(name) => {
                if namespaces::empty(&self.api, name, &self.reports).await? {
                    self.later.push(work.clone());
                }
                Ok(())
            }
            Work::Definition(name) => definitions::empty(&self.api, name).await,
            Work::Roles => roles::aggregate(&self.api).await,
        }
    }

    fn follow(&mut self, event: &Event) {
        let object = &event.object;
        let key = &object.key;
        if *key.resource == *CLUSTER_ROLES {
            self.work.push(Work::Roles);
        }
        // A namespace that is being emptied may have waited for this, or has a new status.
        if let Some(namespace) = self.api.store.get(NAMESPACES, "", &key.namespace)
            && namespace.deleting
        {
            self.work.push(Work::Namespace(Arc::clone(&key.namespace)));
        }
        if event.change == Change::Deleted {
            for dependent in self.api.store.dependents(&object.uid) {
                self.work.push(Work::Owners(dependent.key.clone()));
            }
            // Owners or a definition may have waited for it.
            for owner in &object.owners {
                if let Some(owner) = self.api.store.by_uid(&owner.uid) {
                    self.enqueue_dependents_check(&owner);
                }
            }
            if let Some(definition) = self.api.store.get(CRDS, "", &key.resource)
                && definition.deleting
            {
                self.work.push(Work::Definition(Arc::clone(&key.resource)));
            }
            return;
        }
        self.enqueue_object(object);
    }

    fn enqueue_object(&mut self, object: &crate::store::Object) {
        if !object.owners.is_empty() {
            self.work.push(Work::Owners(object.key.clone()));
            // Whether the object blocks an owner may have changed.
            for owner in &object.owners {
                if let Some(owner) = self.api.store.by_uid(&owner.uid) {
                    self.enqueue_dependents_check(&owner);
                }
            }
        }
        self.enqueue_dependents_check(object);
        if object.deleting && *object.key.resource == *NAMESPACES {
            self.work.push(Work::Namespace(Arc::clone(&object.key.name)));
        }
        if object.deleting && *object.key.resource == *CRDS {
            self.work.push(Work::Definition(Arc::clone(&object.key.name)));
        }
    }

    fn enqueue_dependents_check(&mut self, object: &crate::store::Object) {
        if garbage::waits(object) {
            self.work.push(Work::Waiting(object.key.clone()));
        }
    }

    /// Enqueues everything. Returns the revision of the state.
    fn enqueue_all(&mut self) -> u64 {
        let revision = self.api.store.revision();
        self.work.push(Work::Roles);
        let mut keys = BTreeSet::new();
        for object in self.api.store.unsettled() {
            if keys.insert(object.key.clone()) {
                self.enqueue_object(&object);
            }
        }
        revision
    }
}

/// Sleeps until a time, or forever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
