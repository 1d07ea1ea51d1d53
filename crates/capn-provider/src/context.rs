//! State shared by all reconcilers.

use std::{sync::Arc, time::Duration};

use capn_controller::{
    informers::{Informer, Informers, InitialList},
    watch::Kind,
    workload::Reach,
};
use capn_plan::poll::PollIntervals;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Retries,
    failure::Failure,
    metrics::Metrics,
    remote::{Connect, LocalSockets, Remote, Remotes},
};

/// Options of the reconcilers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Namespace to watch. `None`: all namespaces.
    pub namespace: Option<String>,
    /// Only reconcile objects whose label `cluster.x-k8s.io/watch-filter` has this value. `None`:
    /// all objects.
    pub watch_filter: Option<String>,
    /// Maximum number of concurrent reconciles per kind and cluster.
    pub concurrency: u16,
    /// Interval after which an object is reconciled even if nothing happened to it. It only
    /// compensates for lost events.
    pub resync: Duration,
    /// Deadline for the server to create an instance, including the image download.
    pub create_deadline: Duration,
    /// Retry delays.
    pub retries: Retries,
    /// Intervals for state changes that cause no event.
    pub poll_intervals: PollIntervals,
    /// How to connect to servers.
    pub connect: Connect,
    /// Namespaces whose identities may use a socket on this host.
    pub local_sockets: LocalSockets,
    /// Addresses at which API servers of workload clusters may be reached.
    pub reach: Reach,
    /// Metrics. They are only exposed if they were registered.
    pub metrics: Metrics,
    /// Informers shared with other controllers in this process. `None`: the provider creates its
    /// own.
    pub informers: Option<Informers>,
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
            poll_intervals: PollIntervals::default(),
            connect: Connect::default(),
            local_sockets: LocalSockets::default(),
            reach: Reach::default(),
            metrics: Metrics::default(),
            informers: None,
        }
    }
}

/// Name under which Kubernetes events are published.
const REPORTER: &str = "capn-provider";

/// State shared by all reconcilers. Nothing in it is needed for correctness.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) informers: Informers,
    pub(crate) remotes: Remotes,
    pub(crate) recorder: Recorder,
    /// Cancels waits for the server and the controllers.
    pub(crate) stop: CancellationToken,
}

impl Context {
    pub(crate) fn new(client: Client, options: Options, stop: CancellationToken) -> Self {
        let reporter = Reporter { controller: REPORTER.to_owned(), instance: None };
        let own = || Informers::new(client.clone(), InitialList::default());
        Self {
            informers: options.informers.clone().unwrap_or_else(own),
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

    /// Returns the connection for an identity.
    pub(crate) async fn remote(&self, secret: &Secret) -> Result<Arc<Remote>, Failure> {
        self.remotes.get(secret, self.now()).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Returns the informer of a kind in the watched namespaces.
    pub(crate) fn all<K: Kind>(&self) -> Informer<K> {
        self.informers.of(self.options.namespace.as_deref(), None)
    }

    /// Returns the informer of a kind, limited to the objects that this process reconciles.
    pub(crate) fn own<K: Kind>(&self) -> Informer<K> {
        let filter = self.options.watch_filter.as_ref();
        let labels = filter.map(|value| format!("{}={value}", capi_api::labels::WATCH_FILTER));
        self.informers.of(self.options.namespace.as_deref(), labels.as_deref())
    }
}
