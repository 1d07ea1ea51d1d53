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
mod queue;
mod roles;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::queue::{Delayed, Next, Work, WorkQueue};
use crate::{
    api::Api,
    rbac::CLUSTER_ROLES,
    registry::CRDS,
    status::ApiError,
    store::{Change, Event, NAMESPACES},
};

/// Delay before a retry of failed work.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Interval of full checks, which repair what was missed.
const RESYNC_INTERVAL: Duration = Duration::from_secs(600);

/// Time after which new changes are read, in the middle of much work: they may be of a namespace
/// that waits for its turn.
const SLICE: Duration = Duration::from_millis(50);

/// Interval of event expiry.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(300);

/// Starts the task, which runs until the token is cancelled.
pub(crate) fn spawn(api: &Arc<Api>, shutdown: &CancellationToken) {
    let worker = Worker {
        api: Arc::clone(api),
        work: WorkQueue::default(),
        failed: Delayed::new(RETRY_DELAY),
        later: Delayed::new(namespaces::REPORT_INTERVAL),
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

struct Worker {
    api: Arc<Api>,
    work: WorkQueue,
    /// Failed work.
    failed: Delayed,
    /// Namespaces to check again.
    later: Delayed,
    reports: namespaces::ReportTimes,
}

impl Worker {
    async fn run(mut self) {
        let mut changes = self.api.store.subscribe();
        let mut position = self.enqueue_all();
        let mut expiry_at = Instant::now();
        let mut resync_at = Instant::now() + RESYNC_INTERVAL;
        loop {
            changes.mark_unchanged();
            // Also while new changes keep arriving.
            self.failed.move_due(&mut self.work);
            self.later.move_due(&mut self.work);
            if resync_at <= Instant::now() {
                resync_at = Instant::now() + RESYNC_INTERVAL;
                position = self.enqueue_all();
            }
            if expiry_at <= Instant::now() {
                expiry_at = Instant::now() + EXPIRY_INTERVAL;
                for key in expiry::expired(&self.api, jiff::Timestamp::now()) {
                    self.work.push(Work::Expired(key));
                }
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
            self.work_for(SLICE).await;
            if !self.work.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            let next = [self.failed.next(), self.later.next(), Some(expiry_at), Some(resync_at)];
            let next = next.into_iter().flatten().min();
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = until(next) => {}
            }
        }
    }

    /// Processes the queue for some time.
    async fn work_for(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time
            && let Some(work) = self.work.pop()
        {
            if let Err(error) = self.work_on(&work).await {
                // Others may have changed the objects: the next attempt decides again.
                if !error.is_not_found() && !error.is_conflict() {
                    tracing::warn!(?work, error = %error, "background work failed");
                }
                if !error.is_not_found() {
                    self.failed.push(work);
                }
            }
        }
    }

    async fn work_on(&mut self, work: &Work) -> Result<(), ApiError> {
        match work {
            Work::Owners(key) => garbage::check_owners(&self.api, key).await,
            Work::Waiting(key) => {
                let following = garbage::check_dependents(&self.api, key).await?;
                following.into_iter().for_each(|work| self.work.push(work));
                Ok(())
            }
            Work::Namespace(name) => {
                let next = namespaces::empty(&self.api, name, &self.reports).await?;
                self.continue_with(work, next);
                Ok(())
            }
            Work::Definition(name) => {
                let next = definitions::empty(&self.api, name).await?;
                self.continue_with(work, next);
                Ok(())
            }
            Work::Expired(key) => expiry::delete(&self.api, key, jiff::Timestamp::now()).await,
            Work::Roles => roles::aggregate(&self.api).await,
        }
    }

    fn continue_with(&mut self, work: &Work, next: Next) {
        match next {
            Next::Change => {}
            Next::Turn => self.work.push(work.clone()),
            Next::Interval => self.later.push(work.clone()),
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
