//! Observes a cluster and its instances on the server.

use std::collections::HashSet;

use capn_api::{Isolation, LXCClusterSpec, keys};
use incus_client::api::{Instance, InstanceFilter};
use kube::{Client, Resource};

use crate::cluster::{self, Existing};
use crate::error::CommandError;
use crate::identity::Identity;
use crate::preflight;
use crate::watch::{self, View};

/// A cluster, with access to its instances.
pub(crate) struct ClusterInstances {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) existing: Existing,
    pub(crate) view: View,
    pub(crate) identity: Identity,
    pub(crate) server: incus_client::Client,
}

impl ClusterInstances {
    /// Looks up the cluster and checks that its server responds.
    ///
    /// # Errors
    ///
    /// Returns an error if the cluster does not exist or is being deleted, or if the plane or
    /// server does not respond.
    pub(crate) async fn find(
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> Result<Self, CommandError> {
        let existing = cluster::existing(client, namespace, name).await?;
        if existing.is_leaving {
            return Err(CommandError::new("it is being deleted")
                .hint(format!("finish the deletion: `capn delete cluster {name}`")));
        }
        let view = watch::read(client, namespace, name).await;
        let identity = cluster::identity(client, namespace, &existing, &view).await?;
        Self::of(namespace, name, existing, view, identity).await
    }

    /// Returns the same for a cluster that was already looked up.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not respond.
    pub(crate) async fn of(
        namespace: &str,
        name: &str,
        existing: Existing,
        view: View,
        identity: Identity,
    ) -> Result<Self, CommandError> {
        let server = identity.client()?;
        preflight::contact(&identity, &server).await?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Self { namespace, name, existing, view, identity, server })
    }

    /// Instances of the cluster's objects. Other instances with its name have other owners.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not respond.
    pub(crate) async fn instances(&self) -> Result<Vec<Instance>, CommandError> {
        instances(&self.server, &self.view, &self.namespace, &self.name).await
    }

    /// Returns the isolation that the cluster guarantees for its instances.
    pub(crate) fn isolation(&self) -> Isolation {
        let spec = self.view.lxc_cluster.as_ref().map(|cluster| &cluster.spec);
        spec.map_or(Isolation::Privileged, LXCClusterSpec::effective_isolation)
    }

    /// Returns the factor by which timeouts are extended.
    pub(crate) fn factor(&self) -> u32 {
        self.existing.request.as_ref().map_or(1, |request| request.timeouts.factor())
    }
}

/// Instances that belong to the objects of a view.
///
/// # Errors
///
/// Returns an error if the server does not respond.
pub(crate) async fn instances(
    server: &incus_client::Client,
    view: &View,
    namespace: &str,
    name: &str,
) -> Result<Vec<Instance>, CommandError> {
    let owners = owners(view);
    let filter = InstanceFilter::new()
        .config(keys::INSTANCE_CLUSTER_NAME, name)
        .config(keys::INSTANCE_CLUSTER_NAMESPACE, namespace);
    let found = server.instances(&filter).await.map_err(|error| {
        CommandError::caused("cannot list the cluster's instances on the server", error)
    })?;
    let is_ours = |instance: &Instance| {
        instance.config.get(keys::INSTANCE_OWNER_UID).is_some_and(|uid| owners.contains(uid))
    };
    Ok(found.into_iter().filter(is_ours).collect())
}

fn owners(view: &View) -> HashSet<String> {
    let cluster = view.lxc_cluster.iter().filter_map(|found| found.meta().uid.clone());
    cluster.chain(view.lxc_machines.iter().filter_map(|found| found.meta().uid.clone())).collect()
}
