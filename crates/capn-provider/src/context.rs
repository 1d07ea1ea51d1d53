//! What all reconcilers share.

use std::{sync::Arc, time::Duration};

use capn_controller::workload::Reach;
use capn_plan::recheck::Rechecks;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client,
    runtime::{
        events::{Recorder, Reporter},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Retries,
    failure::Failure,
    metrics::Metrics,
    remote::{Connect, LocalSockets, Remote, Remotes},
};

/// How the reconcilers behave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Namespace to look after; `None`: all.
    pub namespace: Option<String>,
    /// Only objects whose label `cluster.x-k8s.io/watch-filter` has this value; `None`: all.
    pub watch_filter: Option<String>,
    /// How many objects of a kind are reconciled at once in a cluster.
    pub concurrency: u16,
    /// How long an object may go without a reconcile although nothing happened to it. Only
    /// repairs lost events.
    pub resync: Duration,
    /// How long the server may take to make an instance, image download included.
    pub create_deadline: Duration,
    /// How long to wait before something is tried again.
    pub retries: Retries,
    /// When to look again at what no event tells of.
    pub rechecks: Rechecks,
    /// How servers are reached.
    pub connect: Connect,
    /// Namespaces whose identities may name a socket on this machine.
    pub local_sockets: LocalSockets,
    /// Where the API servers of workload clusters may be.
    pub reach: Reach,
    /// What is counted and timed; nobody reads it unless it was registered.
    pub metrics: Metrics,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: None,
            watch_filter: None,
            concurrency: 50,
            resync: Duration::from_secs(600),
            create_deadline: Duration::from_secs(900),
            retries: Retries::default(),
            rechecks: Rechecks::default(),
            connect: Connect::default(),
            local_sockets: LocalSockets::default(),
            reach: Reach::default(),
            metrics: Metrics::default(),
        }
    }
}

/// Name under which Kubernetes events are published.
const REPORTER: &str = "capn-provider";

/// What all reconcilers share. Nothing in it is needed for correctness.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) remotes: Remotes,
    pub(crate) recorder: Recorder,
    /// Ends waits for the server, and the controllers.
    pub(crate) stop: CancellationToken,
}

impl Context {
    pub(crate) fn new(client: Client, options: Options, stop: CancellationToken) -> Self {
        let reporter = Reporter { controller: REPORTER.to_owned(), instance: None };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            remotes: Remotes::new(
                options.connect.clone(),
                options.local_sockets.clone(),
                options.metrics.clone(),
                options.resync,
            ),
            client,
            options,
            stop,
        }
    }

    /// The server that an identity leads to.
    pub(crate) async fn remote(&self, secret: &Secret) -> Result<Arc<Remote>, Failure> {
        self.remotes.get(secret, self.now()).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// All objects of a kind that are ours to look after, in the namespaces we watch.
    pub(crate) fn api<K>(&self) -> kube::Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match &self.options.namespace {
            Some(namespace) => kube::Api::namespaced(self.client.clone(), namespace),
            None => kube::Api::all(self.client.clone()),
        }
    }

    /// The watch of the kinds that are reconciled here.
    pub(crate) fn watched(&self) -> watcher::Config {
        match &self.options.watch_filter {
            Some(value) => watcher::Config::default()
                .labels(&format!("{}={value}", capi_api::labels::WATCH_FILTER)),
            None => watcher::Config::default(),
        }
    }
}
