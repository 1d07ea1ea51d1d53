//! Watches the objects of one cluster.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use capi_api::{Cluster, KubeadmControlPlane, Machine, MachineDeployment, MachinePool, labels};
use capn_api::{LXCCluster, LXCMachine};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::{Scope, View};

/// Changes within this time are reported together.
const SETTLE: Duration = Duration::from_millis(50);

/// The objects of one cluster, kept current by watches.
pub struct Objects {
    cluster: Store<Cluster>,
    lxc_clusters: Store<LXCCluster>,
    control_planes: Store<KubeadmControlPlane>,
    deployments: Store<MachineDeployment>,
    pools: Store<MachinePool>,
    machines: Store<Machine>,
    lxc_machines: Store<LXCMachine>,
    changes: SelectAll<BoxStream<'static, ()>>,
    scope: Scope,
}

impl Objects {
    /// Starts watching the cluster. Nothing is known before the first [`Objects::changed`].
    pub fn of(client: &Client, namespace: &str, cluster: &str) -> Self {
        let named = watcher::Config::default().fields(&format!("metadata.name={cluster}"));
        let labelled =
            watcher::Config::default().labels(&format!("{}={cluster}", labels::CLUSTER_NAME));
        let mut changes = SelectAll::new();
        Self {
            cluster: store(client, namespace, named, &mut changes),
            lxc_clusters: store(client, namespace, labelled.clone(), &mut changes),
            control_planes: store(client, namespace, labelled.clone(), &mut changes),
            deployments: store(client, namespace, labelled.clone(), &mut changes),
            pools: store(client, namespace, labelled.clone(), &mut changes),
            machines: store(client, namespace, labelled.clone(), &mut changes),
            lxc_machines: store(client, namespace, labelled, &mut changes),
            changes,
            scope: Scope::All,
        }
    }

    /// Limits the objects to a scope.
    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Waits for a change and returns the current view. The first call waits until everything has
    /// been listed once.
    ///
    /// # Cancellation
    ///
    /// Cancel safe: what was read is kept.
    pub async fn changed(&mut self) -> View {
        if self.is_incomplete() {
            while self.is_incomplete() && self.changes.next().await.is_some() {}
        } else if self.changes.next().await.is_none() {
            // Watches never end; without any, there is nothing to wait for.
            std::future::pending::<()>().await;
        }
        // A deadline that moved with each change would starve under a steady stream of changes.
        let settled = tokio::time::sleep(SETTLE);
        tokio::pin!(settled);
        loop {
            tokio::select! {
                () = &mut settled => break,
                change = self.changes.next() => if change.is_none() { break },
            }
        }
        self.view()
    }

    fn is_incomplete(&self) -> bool {
        use futures::FutureExt as _;

        // `wait_until_ready` returns at once when the initial list is complete.
        let ready = [
            self.cluster.wait_until_ready().now_or_never().is_some(),
            self.lxc_clusters.wait_until_ready().now_or_never().is_some(),
            self.control_planes.wait_until_ready().now_or_never().is_some(),
            self.deployments.wait_until_ready().now_or_never().is_some(),
            self.pools.wait_until_ready().now_or_never().is_some(),
            self.machines.wait_until_ready().now_or_never().is_some(),
            self.lxc_machines.wait_until_ready().now_or_never().is_some(),
        ];
        ready.contains(&false)
    }

    fn view(&self) -> View {
        let view = View {
            cluster: self.cluster.state().into_iter().next(),
            lxc_cluster: self.lxc_clusters.state().into_iter().next(),
            control_plane: self.control_planes.state().into_iter().next(),
            deployments: self.deployments.state(),
            pools: self.pools.state(),
            machines: self.machines.state(),
            lxc_machines: self.lxc_machines.state(),
        };
        self.scope.narrow(view.sorted())
    }
}

fn store<K>(
    client: &Client,
    namespace: &str,
    config: watcher::Config,
    changes: &mut SelectAll<BoxStream<'static, ()>>,
) -> Store<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Eq + Hash,
{
    let (reader, writer) = reflector::store();
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let events = capn_controller::watch::watcher(api, config)
        .default_backoff()
        .reflect(writer)
        .inspect_err(
            |error| tracing::debug!(kind = %K::kind(&()), %error, "watch failed, retrying"),
        )
        .map(drop);
    changes.push(events.boxed());
    reader
}

/// Reads the current objects of a cluster, without watching them.
pub async fn read(client: &Client, namespace: &str, cluster: &str) -> View {
    Objects::of(client, namespace, cluster).changed().await
}
