//! The way into a machine: the server that its instance is on.

use capi_api::Machine;
use capn_api::keys;
use capn_controller::watch as lists;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};

use super::find::{self, Candidate};
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::watch::{self, View};

/// A machine's instance on its server.
pub(crate) struct Inside {
    /// Of the server and project.
    pub(crate) server: incus_client::Client,
    /// Name of the instance.
    pub(crate) instance: String,
    /// The Machine.
    pub(crate) machine: String,
    /// Its cluster.
    pub(crate) cluster: String,
}

/// All machines of the plane, or those of a namespace, of a cluster.
///
/// # Errors
///
/// When the plane does not answer.
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

/// The way into the machine of a name.
///
/// # Errors
///
/// When the name means none or several, or what it means is not this machine's.
pub(crate) async fn find(
    client: &Client,
    name: &str,
    namespace: Option<&str>,
    cluster: Option<&str>,
) -> Result<Inside, CommandError> {
    let candidates = candidates(client, namespace, cluster).await?;
    let found = find::pick(&candidates, name).map_err(|unclear| {
        let act = match unclear {
            find::Unclear::None(_) => format!("there is no machine `{name}`"),
            find::Unclear::Several(_) => format!("several machines are called `{name}`"),
        };
        CommandError::new(act).hint(unclear.to_string())
    })?;
    let Server { server, view } = server_of(client, &found.namespace, &found.cluster).await?;
    let inside = Inside {
        server,
        instance: found.instance.clone(),
        machine: found.machine.clone(),
        cluster: found.cluster.clone(),
    };
    inside.check(&view).await?;
    Ok(inside)
}

/// The ways into all machines of a cluster, control planes first; or why there is none.
///
/// # Errors
///
/// When there is no such cluster, or nothing says how its server is reached.
pub(crate) async fn all_of(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Vec<Result<Inside, CommandError>>, CommandError> {
    let Server { server, view } = server_of(client, namespace, name).await?;
    let mut all = Vec::new();
    for machine in &view.machines {
        let inside = Inside {
            server: server.clone(),
            instance: machine.spec.infrastructure_ref.name.clone(),
            machine: machine.name_any(),
            cluster: name.to_owned(),
        };
        all.push(inside.check(&view).await.map(|()| inside));
    }
    Ok(all)
}

/// The server of a cluster, and its objects.
pub(crate) struct Server {
    pub(crate) server: incus_client::Client,
    pub(crate) view: View,
}

/// The server of a cluster.
///
/// # Errors
///
/// When there is no such cluster, or nothing says how its server is reached.
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

impl Inside {
    /// Checks that the instance belongs to the machine, and runs.
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
            .hint(format!("what is known: `capn describe cluster {cluster}`")));
        };
        let owner = found.value.config.get(keys::INSTANCE_OWNER_UID);
        if !owner.is_some_and(|uid| is_owner(view, instance, uid)) {
            return Err(CommandError::new(format!(
                "instance `{instance}` does not belong to machine `{machine}`"
            ))
            .hint("it was made by somebody else, so nothing is run in it"));
        }
        if !found.value.is_running() {
            return Err(CommandError::new(format!(
                "instance `{instance}` does not run: {}",
                found.value.status
            ))
            .hint(format!("start it: `capn start {cluster}`")));
        }
        Ok(())
    }
}

/// Whether a UID is that of the LXCMachine of an instance.
fn is_owner(view: &View, instance: &str, uid: &str) -> bool {
    view.lxc_machines
        .iter()
        .any(|found| found.instance_name() == instance && found.meta().uid.as_deref() == Some(uid))
}
