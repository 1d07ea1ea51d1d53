//! A cluster that the plane has.

use std::collections::BTreeMap;

use capi_api::{Cluster, KubeadmControlPlane, MachineDeployment};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::error::{CommandError, Doing as _};
use crate::identity::Identity;
use crate::manifest::{ClusterRequest, REQUEST_ANNOTATION, SERVICES_ANNOTATION};
use crate::power::Stopped;
use crate::watch::View;

/// A cluster that the plane has.
#[derive(Clone, Debug)]
pub struct Existing {
    /// The request it was made from, with the numbers of machines and the version as they are wanted
    /// now. None for a cluster that was made from manifests.
    pub request: Option<ClusterRequest>,
    /// How its server is reached, if its Secret is there.
    pub identity: Option<Identity>,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// Whether nothing is done about it (`spec.paused`).
    pub is_paused: bool,
    /// What `capn stop` recorded, if the cluster is stopped.
    pub stopped: Option<Stopped>,
    /// Whether Services were seen to answer from its nodes.
    pub services_answered: bool,
}

/// Looks a cluster up.
///
/// # Errors
///
/// When the plane does not answer, or what was recorded is not understood.
pub async fn find(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Existing>, CommandError> {
    let doing = || format!("cannot look up cluster `{name}`");
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let Some(cluster) = clusters.get_opt(name).await.doing(doing())? else { return Ok(None) };
    let mut request = match cluster.annotations().get(REQUEST_ANNOTATION) {
        None => None,
        Some(text) => Some(serde_json::from_str::<ClusterRequest>(text).doing(format!(
            "cannot understand the annotation {REQUEST_ANNOTATION} of cluster `{name}`"
        ))?),
    };
    if let Some(request) = &mut request {
        let deployments: Api<MachineDeployment> = Api::namespaced(client.clone(), namespace);
        let control_planes: Api<KubeadmControlPlane> = Api::namespaced(client.clone(), namespace);
        let deployment = deployments.get_opt(&request.workers_name()).await.doing(doing())?;
        let control_plane =
            control_planes.get_opt(&request.control_plane_name()).await.doing(doing())?;
        let count = |replicas: Option<i32>| replicas.and_then(|n| u32::try_from(n).ok());
        if let Some(wanted) = deployment.and_then(|found| count(found.spec.replicas)) {
            request.workers = wanted;
        }
        if let Some(found) = control_plane {
            request.control_planes = count(found.spec.replicas).unwrap_or(request.control_planes);
            // An upgrade changes both.
            request.image_facts.etcd_image_tag = etcd_image_tag(&found);
            request.kubernetes_version = Some(found.spec.version);
        }
    }
    let secret_name = match &request {
        Some(request) => request.identity_name(),
        None => format!("{name}-incus"),
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(&secret_name).await.doing(doing())?;
    Ok(Some(Existing {
        request,
        identity: secret.as_ref().and_then(identity_in),
        is_leaving: cluster.metadata.deletion_timestamp.is_some(),
        is_paused: cluster.spec.paused == Some(true),
        stopped: Stopped::of(&cluster),
        services_answered: cluster.annotations().contains_key(SERVICES_ANNOTATION),
    }))
}

fn etcd_image_tag(control_plane: &KubeadmControlPlane) -> Option<String> {
    let config = control_plane.spec.kubeadm_config_spec.as_ref()?;
    config.cluster_configuration.as_ref()?.etcd.as_ref()?.local.as_ref()?.image_tag.clone()
}

/// Looks up a cluster that has to be there.
///
/// # Errors
///
/// As [`find`], and when there is none: with the names of those that are there.
pub async fn existing(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Existing, CommandError> {
    match find(client, namespace, name).await? {
        Some(existing) => Ok(existing),
        None => {
            let names = names(client, namespace).await?;
            Err(CommandError::new(format!("there is no cluster `{name}`")).hint(known(&names)))
        }
    }
}

/// That there is a cluster, whatever it says of itself.
///
/// # Errors
///
/// When the plane does not answer, or has no cluster of that name: then with the names that it has.
pub async fn is_there(client: &Client, namespace: &str, name: &str) -> Result<(), CommandError> {
    let names = names(client, namespace).await?;
    match names.iter().any(|found| found == name) {
        true => Ok(()),
        false => {
            Err(CommandError::new(format!("there is no cluster `{name}`")).hint(known(&names)))
        }
    }
}

/// What to say when a cluster is not there.
pub fn known(names: &[String]) -> String {
    match names {
        [] => "there are no clusters; make one: `capn up`".to_owned(),
        names => format!("clusters that are there: {}", names.join(", ")),
    }
}

/// Names of all clusters of a namespace.
///
/// # Errors
///
/// When the plane does not answer.
pub async fn names(client: &Client, namespace: &str) -> Result<Vec<String>, CommandError> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    // Of the names only: one that cannot be read is there too.
    let list =
        clusters.list_metadata(&ListParams::default()).await.doing("cannot list clusters")?;
    Ok(list.items.iter().map(|cluster| cluster.name_any()).collect())
}

/// How the server of the cluster is reached: the Secret that `capn up` makes, else the one that the
/// LXCCluster names.
///
/// # Errors
///
/// When the plane does not answer, or has no such Secret.
pub async fn identity(
    client: &Client,
    namespace: &str,
    existing: &Existing,
    view: &View,
) -> Result<Identity, CommandError> {
    if let Some(identity) = &existing.identity {
        return Ok(identity.clone());
    }
    let named = view.lxc_cluster.as_ref().map(|cluster| cluster.spec.secret_ref.name.clone());
    let name = named.unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = match name.as_str() {
        "" => None,
        name => secrets.get_opt(name).await.doing(format!("cannot read the Secret `{name}`"))?,
    };
    secret.as_ref().and_then(identity_in).ok_or_else(|| {
        CommandError::new(format!("no Secret says how the server is reached (`{name}`)"))
            .hint("the LXCCluster names it in `spec.secretRef`")
    })
}

/// The identity in a Secret, if it names a server.
pub fn identity_in(secret: &Secret) -> Option<Identity> {
    let data: &BTreeMap<String, _> = secret.data.as_ref()?;
    let text = |key: &str| {
        let bytes = &data.get(key)?.0;
        let text = String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        (!text.is_empty()).then_some(text)
    };
    Some(Identity {
        server: text("server")?,
        server_certificate: text("server-crt"),
        client_certificate: text("client-crt"),
        client_key: text("client-key"),
        project: text("project"),
    })
}
