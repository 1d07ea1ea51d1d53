//! Background work: garbage collection, the end of namespaces and definitions, roles that add up
//! others, old events.
//!
//! One task follows all events. Everything it decides is decided again from the present state, so
//! it may miss events or be killed anywhere: at start, and after falling behind, it looks at
//! everything once.

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

/// Pause before failed work is done again.
const RETRY: Duration = Duration::from_secs(1);
/// Pause between looks at everything, which repair what was missed.
const RESYNC: Duration = Duration::from_secs(600);

/// Pause between looks for old events.
const EXPIRY: Duration = Duration::from_secs(300);

/// Starts the task; it ends with the token.
pub(crate) fn spawn(api: &Arc<Api>, shutdown: &CancellationToken) {
    let worker = Worker {
        api: Arc::clone(api),
        work: Queue::default(),
        later: Vec::new(),
        reports: namespaces::Reports::default(),
    };
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = worker.run() => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// Owners of an object.
    Owners(Key),
    /// Dependents of an object that waits for them.
    Waiting(Key),
    /// A namespace that is going away.
    Namespace(Arc<str>),
    /// A definition that is going away.
    Definition(Arc<str>),
    /// Cluster roles that add up others.
    Roles,
}

/// Work without repetitions.
#[derive(Default)]
struct Queue {
    order: VecDeque<Work>,
    known: HashSet<Work>,
}

impl Queue {
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
    work: Queue,
    /// Namespaces to look at again after a pause.
    later: Vec<Work>,
    reports: namespaces::Reports,
}

impl Worker {
    async fn run(mut self) {
        let mut news = self.api.store.subscribe();
        let mut position = self.look_at_all();
        let mut expiry = tokio::time::interval(EXPIRY);
        expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut again = None;
        loop {
            news.mark_unchanged();
            // Also while there is news all the time.
            if again.is_some_and(|at| at <= Instant::now()) {
                again = None;
                self.later.drain(..).for_each(|work| self.work.push(work));
            }
            match self.api.store.since(position, None) {
                Ok((revision, events)) => {
                    position = revision;
                    for event in events {
                        self.follow(&event);
                    }
                }
                Err(_) => position = self.look_at_all(),
            }
            let failed = self.drain().await;
            if !self.later.is_empty() {
                again.get_or_insert_with(|| Instant::now() + namespaces::PACE);
            }
            if news.has_changed().unwrap_or(false) {
                continue;
            }
            let pause = if failed { RETRY } else { RESYNC };
            tokio::select! {
                changed = news.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                _ = expiry.tick() => {
                    if let Err(error) = expiry::expire(&self.api, jiff::Timestamp::now()).await {
                        tracing::warn!(error = %error, "cannot delete old events");
                    }
                }
                () = until(again) => {}
                () = tokio::time::sleep(pause) => position = self.look_at_all(),
            }
        }
    }

    /// Does all work; returns whether some failed and has to be done again.
    async fn drain(&mut self) -> bool {
        let mut failed = Vec::new();
        while let Some(work) = self.work.pop() {
            if let Err(error) = self.work_on(&work).await {
                // Others write the same objects: the next look decides anew.
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
        // One that is being emptied may have waited for this, or has something else to tell of.
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
                    self.look_at_waiting(&owner);
                }
            }
            if let Some(definition) = self.api.store.get(CRDS, "", &key.resource)
                && definition.deleting
            {
                self.work.push(Work::Definition(Arc::clone(&key.resource)));
            }
            return;
        }
        self.look_at(object);
    }

    fn look_at(&mut self, object: &crate::store::Object) {
        if !object.owners.is_empty() {
            self.work.push(Work::Owners(object.key.clone()));
            // Whether the object still blocks an owner may have changed.
            for owner in &object.owners {
                if let Some(owner) = self.api.store.by_uid(&owner.uid) {
                    self.look_at_waiting(&owner);
                }
            }
        }
        self.look_at_waiting(object);
        if object.deleting && *object.key.resource == *NAMESPACES {
            self.work.push(Work::Namespace(Arc::clone(&object.key.name)));
        }
        if object.deleting && *object.key.resource == *CRDS {
            self.work.push(Work::Definition(Arc::clone(&object.key.name)));
        }
    }

    fn look_at_waiting(&mut self, object: &crate::store::Object) {
        if garbage::waits(object) {
            self.work.push(Work::Waiting(object.key.clone()));
        }
    }

    /// Everything once; returns the revision that was looked at.
    fn look_at_all(&mut self) -> u64 {
        let revision = self.api.store.revision();
        self.work.push(Work::Roles);
        let mut keys = BTreeSet::new();
        for object in self.api.store.unsettled() {
            if keys.insert(object.key.clone()) {
                self.look_at(&object);
            }
        }
        revision
    }
}

/// Comes back at a time, or never.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
