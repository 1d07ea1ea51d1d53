//! Gets, keeps and gives back the Lease of the leader.

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
    lease::{self, Seen, Standing},
};

/// How copies of a manager agree on who leads.
#[derive(Clone, Debug)]
pub struct ElectionOptions {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease. All copies that must not work at once use the same one.
    pub name: String,
    /// What this copy is called in it; no other copy, not even an earlier one, is called so.
    pub identity: String,
    /// How long others wait after the last renewal before they take the lead.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up; less than `lease_duration`.
    pub renew_deadline: Duration,
    /// Pause between two tries; less than `renew_deadline`.
    pub retry_period: Duration,
    /// Shows whether this copy leads.
    pub status: LeaderStatus,
}

/// The metric `leader_election_master_status`, named as client-go's: 1 while this copy leads.
#[derive(Clone, Debug, Default)]
pub struct LeaderStatus(Gauge);

impl LeaderStatus {
    /// The metric in a registry of the caller.
    pub fn register(registry: &mut Registry) -> Self {
        let status = Self::default();
        registry.register(
            "leader_election_master_status",
            "Whether this copy leads: 1, else 0",
            status.0.clone(),
        );
        status
    }
}

impl ElectionOptions {
    /// The Lease and the times of the Go provider, so that it and this one never work at once.
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

const FORBIDDEN: &str = "bind the Role capn-leader-election-role in the namespace of the lease, or name another with --leader-election-namespace";

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.code == 403)
}

/// One copy's part in an election.
pub(crate) struct Election {
    options: ElectionOptions,
    api: Api<Lease>,
    recorder: Recorder,
    seen: Option<Seen>,
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
            seen: None,
        }
    }

    /// Waits until this copy leads.
    ///
    /// # Cancellation
    ///
    /// A copy that took the lead in the moment it was cancelled keeps it until it expires.
    pub(crate) async fn lead(&mut self) {
        let lease = format!("{}/{}", self.options.namespace, self.options.name);
        tracing::info!(lease, identity = self.options.identity, "waiting for the lead");
        let mut said = String::new();
        loop {
            match self.attempt().await {
                Ok(Standing::Ours) => break,
                Ok(Standing::Held(holder)) if said != holder => {
                    tracing::info!(lease, holder, "another copy leads");
                    said = holder;
                }
                Ok(_) => {}
                Err(error) => {
                    let why = chain(&error);
                    // Every two seconds the same is no news.
                    if said != why {
                        tracing::warn!(lease, error = why, "cannot take the lead; trying on");
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

    /// Renews until that is no longer possible; then why.
    pub(crate) async fn keep(&mut self) -> Error {
        let mut renewed = Instant::now();
        loop {
            sleep(self.options.retry_period).await;
            let left = (renewed + self.options.renew_deadline)
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            let why = match timeout(left, self.attempt()).await {
                Ok(Ok(Standing::Ours)) => {
                    renewed = Instant::now();
                    continue;
                }
                Ok(Ok(Standing::Held(holder))) => {
                    return self.lost(format!("{holder} leads now"));
                }
                Ok(Ok(Standing::Free)) => "another copy wrote to the lease".to_owned(),
                Ok(Err(error)) => chain(&error),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if renewed.elapsed() >= self.options.renew_deadline {
                return self.lost(why);
            }
            tracing::warn!(error = why, "cannot renew the lead");
        }
    }

    /// Gives the lead back, if it is ours. What goes wrong only costs others the time until it expires.
    pub(crate) async fn release(&mut self) {
        let Some(Seen { lease, .. }) = &self.seen else { return };
        let Some(spec) = lease.spec.as_ref() else { return };
        if spec.holder_identity.as_deref() != Some(&self.options.identity) {
            return;
        }
        self.options.status.0.set(0);
        let released = lease::release(spec, Timestamp::now());
        match timeout(self.options.retry_period, self.write(lease.clone(), released)).await {
            Ok(Ok(_)) => tracing::info!("gave the lead back"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "cannot give the lead back"),
            Err(_) => tracing::warn!("cannot give the lead back: the API server does not answer"),
        }
    }

    /// One try to take or renew the lead. `Free`: somebody else was faster.
    async fn attempt(&mut self) -> kube::Result<Standing> {
        let identity = self.options.identity.clone();
        let Some(lease) = self.api.get_opt(&self.options.name).await? else {
            return self.create().await;
        };
        let seen = Seen::update(self.seen.take(), lease, Instant::now());
        let standing = seen.standing(&identity, Instant::now());
        let lease = seen.lease.clone();
        self.seen = Some(seen);
        if let Standing::Held(_) = standing {
            return Ok(standing);
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

    async fn create(&mut self) -> kube::Result<Standing> {
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

    /// Writes only if nobody else wrote since the Lease was read.
    async fn write(&self, lease: Lease, spec: LeaseSpec) -> kube::Result<Lease> {
        let lease = Lease { spec: Some(spec), ..lease };
        self.api.replace(&self.options.name, &PostParams::default(), &lease).await
    }

    fn accept(&mut self, written: kube::Result<Lease>) -> kube::Result<Standing> {
        match written {
            Ok(lease) => {
                self.seen = Some(Seen { lease, since: Instant::now() });
                Ok(Standing::Ours)
            }
            Err(kube::Error::Api(refused)) if refused.code == 409 => Ok(Standing::Free),
            Err(error) => Err(error),
        }
    }

    /// An event on the Lease, as client-go's: a courtesy.
    async fn announce(&self) {
        let Some(Seen { lease, .. }) = &self.seen else { return };
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

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(link) = next {
        // The library prints the answer of an API server once more with all its fields.
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
