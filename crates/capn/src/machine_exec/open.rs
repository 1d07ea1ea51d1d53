//! Finds the instance of a machine and the server it runs on.

use capi_api::Machine;
use capn_api::keys;
use capn_controller::watch as lists;
use futures::StreamExt as _;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};

use super::find::{self, Candidate};
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::watch::{self, View};

/// Number of machines that are checked concurrently.
const CHECKS: usize = 16;

/// The instance of a machine and its server.
pub(crate) struct MachineInstance {
    /// Client for the server and project.
    pub(crate) server: incus_client::Client,
    /// Name of the instance.
    pub(crate) instance: String,
    /// Name of the Machine.
    pub(crate) machine: String,
    /// Name of its cluster.
    pub(crate) cluster: String,
}

/// Returns all machines in the plane, or those of a namespace or cluster.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(crate) async fn candidates(
    client: &Client,
    namespace: Option<&str>,
    cluster: Option<&str>,
) -> Result<Vec<Candidate>, CommandError> {
    let api: Api<Machine> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (machines, _) =
        lists::list(api, &ListParams::default()).await.doing("cannot list machines")?;
    let mut found: Vec<Candidate> = machines
        .into_iter()
        .filter(|machine| cluster.is_none_or(|name| machine.spec.cluster_name == name))
        .map(|machine| Candidate {
            namespace: machine.namespace().unwrap_or_default(),
            machine: machine.name_any(),
            node: machine.node_name().map(str::to_owned),
            cluster: machine.spec.cluster_name,
            instance: machine.spec.infrastructure_ref.name,
        })
        .collect();
    found.sort_by(|a, b| (&a.namespace, &a.machine).cmp(&(&b.namespace, &b.machine)));
    Ok(found)
}

/// Finds a machine's instance by name.
///
/// # Errors
///
/// Returns an error if the name is unknown or ambiguous, or if the instance does not belong to the
/// machine.
pub(crate) async fn find(
    client: &Client,
    name: &str,
    namespace: Option<&str>,
    cluster: Option<&str>,
) -> Result<MachineInstance, CommandError> {
    let candidates = candidates(client, namespace, cluster).await?;
    let found = find::pick(&candidates, name).map_err(|unclear| {
        let act = match unclear {
            find::NameError::None(_) => format!("machine `{name}` does not exist"),
            find::NameError::Several(_) => format!("several machines have the name `{name}`"),
        };
        CommandError::new(act).hint(unclear.to_string())
    })?;
    let Server { server, view } = server_of(client, &found.namespace, &found.cluster).await?;
    let inside = MachineInstance {
        server,
        instance: found.instance.clone(),
        machine: found.machine.clone(),
        cluster: found.cluster.clone(),
    };
    inside.check(&view).await?;
    Ok(inside)
}

/// Returns the instances of all machines of a cluster, control planes first. For each, an error if
/// it is not available.
///
/// # Errors
///
/// Returns an error if the cluster does not exist or its server is unknown.
pub(crate) async fn all_of(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Vec<Result<MachineInstance, CommandError>>, CommandError> {
    let Server { server, view } = server_of(client, namespace, name).await?;
    // One request tells whether the server responds; otherwise each machine waits for the deadline.
    server.server().await.doing(format!("cannot reach the server of cluster `{name}`"))?;
    let checks = view.machines.iter().map(async |machine| {
        let inside = MachineInstance {
            server: server.clone(),
            instance: machine.spec.infrastructure_ref.name.clone(),
            machine: machine.name_any(),
            cluster: name.to_owned(),
        };
        inside.check(&view).await.map(|()| inside)
    });
    Ok(futures::stream::iter(checks).buffered(CHECKS).collect().await)
}

/// The server of a cluster, and its objects.
pub(crate) struct Server {
    pub(crate) server: incus_client::Client,
    pub(crate) view: View,
}

/// Finds the server of a cluster.
///
/// # Errors
///
/// Returns an error if the cluster does not exist or its server is unknown.
pub(crate) async fn server_of(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Server, CommandError> {
    let existing = cluster::existing(client, namespace, name).await?;
    let view = watch::read(client, namespace, name).await;
    let identity = cluster::identity(client, namespace, &existing, &view).await?;
    Ok(Server { server: identity.client()?, view })
}

impl MachineInstance {
    /// Checks that the instance belongs to the machine and is running.
    async fn check(&self, view: &View) -> Result<(), CommandError> {
        let Self { instance, cluster, machine, .. } = self;
        let found = self
            .server
            .instance(instance)
            .await
            .doing(format!("cannot look up instance `{instance}`"))?;
        let Some(found) = found else {
            return Err(CommandError::new(format!(
                "instance `{instance}` of machine `{machine}` is gone from the server"
            ))
            .hint(format!("see details: `capn describe cluster {cluster}`")));
        };
        let owner = found.value.config.get(keys::INSTANCE_OWNER_UID);
        if !owner.is_some_and(|uid| is_owner(view, instance, uid)) {
            return Err(CommandError::new(format!(
                "instance `{instance}` does not belong to machine `{machine}`"
            ))
            .hint("it was not created for this machine, so capn runs nothing in it"));
        }
        if !found.value.is_running() {
            return Err(CommandError::new(format!(
                "instance `{instance}` is not running: {}",
                found.value.status
            ))
            .hint(format!("start it: `capn start {cluster}`")));
        }
        Ok(())
    }
}

/// Returns whether a UID belongs to the LXCMachine of an instance.
fn is_owner(view: &View, instance: &str, uid: &str) -> bool {
    view.lxc_machines
        .iter()
        .any(|found| found.instance_name() == instance && found.meta().uid.as_deref() == Some(uid))
}
