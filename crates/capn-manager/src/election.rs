//! Acquires, renews and releases the leader's Lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client, Resource as _,
    api::{ObjectMeta, PostParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Error,
    lease::{self, LeaseState, ObservedLease},
};

/// Leader election options.
#[derive(Clone, Debug)]
pub struct ElectionOptions {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease. All replicas that must not run at the same time use the same one.
    pub name: String,
    /// Identity of this replica. No other replica, including earlier ones, may use it.
    pub identity: String,
    /// Time after the last renewal at which others may take over.
    pub lease_duration: Duration,
    /// How long the leader retries to renew before it gives up. Less than `lease_duration`.
    pub renew_deadline: Duration,
    /// Delay between attempts. Less than `renew_deadline`.
    pub retry_period: Duration,
    /// Metric that shows whether this replica leads.
    pub status: LeaderStatus,
}

/// The metric `leader_election_master_status`, named as in client-go: 1 while this replica leads.
#[derive(Clone, Debug, Default)]
pub struct LeaderStatus(Gauge);

impl LeaderStatus {
    /// Creates the metric and registers it.
    pub fn register(registry: &mut Registry) -> Self {
        let status = Self::default();
        registry.register(
            "leader_election_master_status",
            "1 if this replica is the leader, else 0",
            status.0.clone(),
        );
        status
    }
}

impl ElectionOptions {
    /// Returns options with the Lease and timings of the Go provider, so that both never run at the
    /// same time.
    pub fn new(namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: "controller-leader-election-capn".to_owned(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            status: LeaderStatus::default(),
        }
    }
}

const FORBIDDEN: &str = "bind the Role capn-leader-election-role in the namespace of the lease, or set another namespace with --leader-election-namespace";

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.code == 403)
}

/// This replica's part of an election.
pub(crate) struct Election {
    options: ElectionOptions,
    api: Api<Lease>,
    recorder: Recorder,
    observed: Option<ObservedLease>,
}

impl Election {
    pub(crate) fn new(client: Client, options: ElectionOptions) -> Self {
        let reporter = Reporter {
            controller: "capn-manager".to_owned(),
            instance: Some(options.identity.clone()),
        };
        Self {
            api: Api::namespaced(client.clone(), &options.namespace),
            recorder: Recorder::new(client, reporter),
            options,
            observed: None,
        }
    }

    /// Waits until this replica leads.
    ///
    /// # Cancellation
    ///
    /// A replica that acquired the Lease at the moment of cancellation holds it until it expires.
    pub(crate) async fn lead(&mut self) {
        let lease = format!("{}/{}", self.options.namespace, self.options.name);
        tracing::info!(lease, identity = self.options.identity, "waiting for the leader lease");
        let mut said = String::new();
        loop {
            match self.attempt().await {
                Ok(LeaseState::Ours) => break,
                Ok(LeaseState::Held(holder)) if said != holder => {
                    tracing::info!(lease, holder, "another replica leads");
                    said = holder;
                }
                Ok(_) => {}
                Err(error) => {
                    let why = chain(&error);
                    // An unchanged error is not logged every two seconds.
                    if said != why {
                        tracing::warn!(
                            lease,
                            error = why,
                            "cannot acquire the leader lease; retrying"
                        );
                        if is_forbidden(&error) {
                            tracing::warn!(lease, "{FORBIDDEN}");
                        }
                        said = why;
                    }
                }
            }
            sleep(self.options.retry_period).await;
        }
        self.options.status.0.set(1);
        tracing::info!(lease, identity = self.options.identity, "leading");
        self.announce().await;
    }

    /// Renews the Lease until that fails, and returns the reason.
    pub(crate) async fn keep(&mut self) -> Error {
        let mut renewed = Instant::now();
        loop {
            sleep(self.options.retry_period).await;
            let left = (renewed + self.options.renew_deadline)
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            let why = match timeout(left, self.attempt()).await {
                Ok(Ok(LeaseState::Ours)) => {
                    renewed = Instant::now();
                    continue;
                }
                Ok(Ok(LeaseState::Held(holder))) => {
                    return self.lost(format!("{holder} is now the leader"));
                }
                Ok(Ok(LeaseState::Free)) => "another replica wrote to the lease".to_owned(),
                Ok(Err(error)) => chain(&error),
                Err(_) => "the API server does not respond".to_owned(),
            };
            if renewed.elapsed() >= self.options.renew_deadline {
                return self.lost(why);
            }
            tracing::warn!(error = why, "cannot renew the leader lease");
        }
    }

    /// Releases the Lease, if this replica holds it. A failure only delays other replicas until it
    /// expires.
    pub(crate) async fn release(&mut self) {
        let Some(ObservedLease { lease, .. }) = &self.observed else { return };
        let Some(spec) = lease.spec.as_ref() else { return };
        if spec.holder_identity.as_deref() != Some(&self.options.identity) {
            return;
        }
        self.options.status.0.set(0);
        let released = lease::release(spec, Timestamp::now());
        match timeout(self.options.retry_period, self.write(lease.clone(), released)).await {
            Ok(Ok(_)) => tracing::info!("released the leader lease"),
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "cannot release the leader lease");
            }
            Err(_) => {
                tracing::warn!("cannot release the leader lease: the API server does not respond");
            }
        }
    }

    /// Tries once to acquire or renew the Lease. `Free`: another replica was faster.
    async fn attempt(&mut self) -> kube::Result<LeaseState> {
        let identity = self.options.identity.clone();
        let Some(lease) = self.api.get_opt(&self.options.name).await? else {
            return self.create().await;
        };
        let observed = ObservedLease::update(self.observed.take(), lease, Instant::now());
        let lease_state = observed.lease_state(&identity, Instant::now());
        let lease = observed.lease.clone();
        self.observed = Some(observed);
        if let LeaseState::Held(_) = lease_state {
            return Ok(lease_state);
        }
        let claim = lease::claim(
            lease.spec.as_ref(),
            &identity,
            self.options.lease_duration,
            Timestamp::now(),
        );
        let written = self.write(lease, claim).await;
        self.accept(written)
    }

    async fn create(&mut self) -> kube::Result<LeaseState> {
        let spec = lease::claim(
            None,
            &self.options.identity,
            self.options.lease_duration,
            Timestamp::now(),
        );
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.options.name.clone()), ..ObjectMeta::default() },
            spec: Some(spec),
        };
        let created = self.api.create(&PostParams::default(), &lease).await;
        self.accept(created)
    }

    /// Writes the Lease if it has not changed since it was read.
    async fn write(&self, lease: Lease, spec: LeaseSpec) -> kube::Result<Lease> {
        let lease = Lease { spec: Some(spec), ..lease };
        self.api.replace(&self.options.name, &PostParams::default(), &lease).await
    }

    fn accept(&mut self, written: kube::Result<Lease>) -> kube::Result<LeaseState> {
        match written {
            Ok(lease) => {
                self.observed = Some(ObservedLease { lease, since: Instant::now() });
                Ok(LeaseState::Ours)
            }
            Err(kube::Error::Api(refused)) if refused.code == 409 => Ok(LeaseState::Free),
            Err(error) => Err(error),
        }
    }

    /// Publishes an event on the Lease, like client-go. Best effort.
    async fn announce(&self) {
        let Some(ObservedLease { lease, .. }) = &self.observed else { return };
        let event = Event {
            type_: EventType::Normal,
            reason: "LeaderElection".to_owned(),
            note: Some(format!("{} became leader", self.options.identity)),
            action: "LeaderElection".to_owned(),
            secondary: None,
        };
        let told = self.recorder.publish(&event, &lease.object_ref(&())).await;
        if let Err(error) = told {
            tracing::debug!(error = chain(&error), "cannot publish an event");
        }
    }

    fn lost(&self, why: String) -> Error {
        self.options.status.0.set(0);
        Error::LeadLost { identity: self.options.identity.clone(), why }
    }
}

/// Formats an error with its sources, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(link) = next {
        // The library would print the response of an API server again with all its fields.
        let (said, last) = match link.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(answer)) => (answer.message.clone(), true),
            _ => (link.to_string(), false),
        };
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = link.source().filter(|_| !last);
    }
    text
}

#[cfg(test)]
mod tests;
