//! State shared by all controllers.

use std::time::Duration;

use capi_api::labels;
use capn_controller::informers::{Informer, Informers, InitialList};
use capn_controller::watch::Kind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use tokio_util::sync::CancellationToken;

use crate::contract::Contracts;
use crate::external::ExternalWatches;
use crate::full_namespaces::FullNamespaces;
use crate::nodes::NodeWatches;
use crate::workload::Workloads;

/// Name under which events are published.
const REPORTER: &str = "capn";

/// Options of the controllers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Interval after which an object is reconciled even if nothing happened to it. It only
    /// compensates for lost events.
    pub resync: Duration,
    /// Maximum number of concurrent reconciles per kind and namespace.
    pub concurrency: u16,
    /// Clients of workload clusters. The default creates them from the kubeconfig Secrets.
    pub workloads: Workloads,
    /// Informers shared with other controllers in this process. `None`: this crate creates its own.
    pub informers: Option<Informers>,
}

impl Default for Options {
    fn default() -> Self {
        let resync = Duration::from_secs(600);
        Self { resync, concurrency: 5, workloads: Workloads::default(), informers: None }
    }
}

/// State shared by all controllers: the client of the management plane, and caches. Nothing in it
/// is needed for correctness; it can be lost at any time.
pub struct Context {
    /// Client of the management plane.
    pub client: Client,
    /// Clients of workload clusters.
    pub workloads: Workloads,
    /// API versions of the referenced kinds.
    pub contracts: Contracts,
    pub(crate) informers: Informers,
    pub(crate) external: ExternalWatches,
    pub(crate) nodes: NodeWatches,
    /// Namespaces whose quota is exhausted.
    pub(crate) full_namespaces: FullNamespaces,
    /// Publishes Kubernetes events.
    pub(crate) recorder: Recorder,
    /// Cancelled at shutdown.
    pub(crate) stop: CancellationToken,
    pub(crate) resync: Duration,
    pub(crate) concurrency: u16,
}

impl Context {
    /// Creates a context with the client of a management plane.
    #[must_use]
    pub fn new(client: Client, options: Options) -> Self {
        let Options { resync, concurrency, workloads, informers } = options;
        let own = || Informers::new(client.clone(), InitialList::default());
        Self {
            informers: informers.unwrap_or_else(own),
            contracts: Contracts::new(client.clone()),
            external: ExternalWatches::new(client.clone()),
            nodes: NodeWatches::default(),
            full_namespaces: FullNamespaces::default(),
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

    /// Returns the informer of a kind in all namespaces.
    pub(crate) fn all<K: Kind>(&self) -> Informer<K> {
        self.informers.of(None, None)
    }

    /// Returns the informer of the metadata of clusters' Secrets.
    pub(crate) fn secrets_of_clusters(&self) -> Informer<PartialObjectMeta<Secret>> {
        self.informers.metadata_of(Some(labels::CLUSTER_NAME))
    }

    /// Returns the current time. Controllers pass it to their plans.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
