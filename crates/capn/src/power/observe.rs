//! Reads a cluster, and its instances on the server.

use std::collections::HashSet;

use capn_api::{Isolation, LXCClusterSpec, keys};
use incus_client::api::{Instance, InstanceFilter};
use kube::{Client, Resource};

use crate::cluster::{self, Existing};
use crate::error::CommandError;
use crate::identity::Identity;
use crate::preflight;
use crate::watch::{self, View};

/// A cluster, and what has its instances.
pub(crate) struct Subject {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) existing: Existing,
    pub(crate) view: View,
    pub(crate) identity: Identity,
    pub(crate) server: incus_client::Client,
}

impl Subject {
    /// Looks the cluster up, and whether its server answers.
    ///
    /// # Errors
    ///
    /// When there is no such cluster, it is being deleted, or plane or server do not answer.
    pub(crate) async fn find(
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> Result<Self, CommandError> {
        let existing = cluster::existing(client, namespace, name).await?;
        if existing.is_leaving {
            return Err(CommandError::new("it is being deleted")
                .hint(format!("finish that: `capn delete cluster {name}`")));
        }
        let view = watch::read(client, namespace, name).await;
        let identity = cluster::identity(client, namespace, &existing, &view).await?;
        Self::of(namespace, name, existing, view, identity).await
    }

    /// The same of a cluster that was looked up.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
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

    /// The instances of the cluster's objects. Others of its name are somebody else's.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub(crate) async fn instances(&self) -> Result<Vec<Instance>, CommandError> {
        instances(&self.server, &self.view, &self.namespace, &self.name).await
    }

    /// What the cluster promises of its instances.
    pub(crate) fn isolation(&self) -> Isolation {
        let spec = self.view.lxc_cluster.as_ref().map(|cluster| &cluster.spec);
        spec.map_or(Isolation::Privileged, LXCClusterSpec::effective_isolation)
    }

    /// How much longer than usual everything may take.
    pub(crate) fn factor(&self) -> u32 {
        self.existing.request.as_ref().map_or(1, |request| request.timeouts.factor())
    }
}

/// The instances that belong to objects of a view.
///
/// # Errors
///
/// When the server does not answer.
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
        CommandError::caused("cannot ask the server for the cluster's instances", error)
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
