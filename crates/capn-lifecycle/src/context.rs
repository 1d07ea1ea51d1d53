//! What all controllers share.

use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio_util::sync::CancellationToken;

use crate::contract::Contracts;
use crate::external::ExternalWatches;
use crate::full::Full;
use crate::nodes::NodeWatches;
use crate::workload::Workloads;

/// Name under which events are published.
const REPORTER: &str = "capn";

/// How the controllers behave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long an object may go without a reconcile although nothing happened to it. Only
    /// repairs lost events.
    pub resync: Duration,
    /// How many objects of a kind are reconciled at once in a namespace.
    pub concurrency: u16,
    /// Clients of workload clusters. The default makes them from the kubeconfig secrets.
    pub workloads: Workloads,
}

impl Default for Options {
    fn default() -> Self {
        Self { resync: Duration::from_secs(600), concurrency: 5, workloads: Workloads::default() }
    }
}

/// What all controllers share: the client of the plane and what is remembered between reconciles.
/// Nothing in it is needed for correctness; it can be lost at any moment.
pub struct Context {
    /// Client of the management plane.
    pub client: Client,
    /// Clients of workload clusters.
    pub workloads: Workloads,
    /// Versions of the kinds that references point at.
    pub contracts: Contracts,
    pub(crate) external: ExternalWatches,
    pub(crate) nodes: NodeWatches,
    /// Namespaces that take no more.
    pub(crate) full: Full,
    /// Tells what happened to an object, as Kubernetes events.
    pub(crate) recorder: Recorder,
    /// Cancelled when the controllers end.
    pub(crate) stop: CancellationToken,
    pub(crate) resync: Duration,
    pub(crate) concurrency: u16,
}

impl Context {
    /// A context over the client of a management plane.
    #[must_use]
    pub fn new(client: Client, options: Options) -> Self {
        let Options { resync, concurrency, workloads } = options;
        Self {
            contracts: Contracts::new(client.clone()),
            external: ExternalWatches::new(client.clone()),
            nodes: NodeWatches::default(),
            full: Full::default(),
            recorder: Recorder::new(
                client.clone(),
                Reporter { controller: REPORTER.to_owned(), instance: None },
            ),
            stop: CancellationToken::new(),
            client,
            workloads,
            resync,
            concurrency,
        }
    }

    /// The time now. Controllers ask here and hand it to their plans.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
