//! Lookup of clusters in the plane.

use std::collections::BTreeMap;

use capi_api::{Cluster, KubeadmControlPlane};
use capn_controller::workload::Reach;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::pools;
use crate::error::{CommandError, Doing as _};
use crate::identity::Identity;
use crate::manifest::{ClusterRequest, REQUEST_ANNOTATION, SERVICES_ANNOTATION};
use crate::power::Stopped;
use crate::trust;
use crate::watch::View;

/// A cluster in the plane.
#[derive(Clone, Debug)]
pub struct Existing {
    /// The request that created it, with the current version and numbers of machines. `None` for a
    /// cluster created from manifests.
    pub request: Option<ClusterRequest>,
    /// Identity for its server, if the Secret exists.
    pub identity: Option<Identity>,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// Whether it is paused (`spec.paused`).
    pub is_paused: bool,
    /// Record of `capn stop`, if the cluster is stopped.
    pub stopped: Option<Stopped>,
    /// Whether Services were verified to respond from its nodes.
    pub services_answered: bool,
}

/// Looks up a cluster.
///
/// # Errors
///
/// Returns an error if the plane does not respond or the recorded request cannot be parsed.
pub async fn find(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Existing>, CommandError> {
    let doing = || format!("cannot look up cluster `{name}`");
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let Some(cluster) = clusters.get_opt(name).await.doing(doing())? else { return Ok(None) };
    let mut request =
        match cluster.annotations().get(REQUEST_ANNOTATION) {
            None => None,
            Some(text) => Some(serde_json::from_str::<ClusterRequest>(text).doing(format!(
                "cannot parse annotation {REQUEST_ANNOTATION} of cluster `{name}`"
            ))?),
        };
    if let Some(recorded) = request {
        let deployments = pools::deployments(client, namespace, name).await?;
        let mut recorded = pools::with_known(recorded, &deployments);
        let control_planes: Api<KubeadmControlPlane> = Api::namespaced(client.clone(), namespace);
        let control_plane =
            control_planes.get_opt(&recorded.control_plane_name()).await.doing(doing())?;
        if let Some(found) = control_plane {
            let wanted = found.spec.replicas.and_then(|n| u32::try_from(n).ok());
            recorded.control_planes = wanted.unwrap_or(recorded.control_planes);
            // An upgrade changes the version and the image.
            recorded.image_facts.etcd_image_tag = etcd_image_tag(&found);
            recorded.kubernetes_version = Some(found.spec.version);
        }
        request = Some(recorded);
    }
    let secret_name = match &request {
        Some(request) => request.identity_name(),
        None => format!("{name}-incus"),
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(&secret_name).await.doing(doing())?;
    Ok(Some(Existing {
        request,
        identity: match &secret {
            Some(secret) => identity_in(secret, trust::reach(client, namespace).await?),
            None => None,
        },
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

/// Looks up a cluster that must exist.
///
/// # Errors
///
/// Like [`find`]; also if it does not exist. The error lists existing clusters.
pub async fn existing(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Existing, CommandError> {
    match find(client, namespace, name).await? {
        Some(existing) => Ok(existing),
        None => {
            let names = names(client, namespace).await?;
            Err(CommandError::new(format!("cluster `{name}` does not exist")).hint(known(&names)))
        }
    }
}

/// Checks that a cluster exists, regardless of its state.
///
/// # Errors
///
/// Returns an error if the plane does not respond or the cluster does not exist. The error lists
/// existing clusters.
pub async fn is_there(client: &Client, namespace: &str, name: &str) -> Result<(), CommandError> {
    let names = names(client, namespace).await?;
    match names.iter().any(|found| found == name) {
        true => Ok(()),
        false => {
            Err(CommandError::new(format!("cluster `{name}` does not exist")).hint(known(&names)))
        }
    }
}

/// Returns a hint for a missing cluster.
pub fn known(names: &[String]) -> String {
    match names {
        [] => "no clusters exist; create one: `capn up`".to_owned(),
        names => format!("existing clusters: {}", names.join(", ")),
    }
}

/// Names of all clusters in a namespace.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub async fn names(client: &Client, namespace: &str) -> Result<Vec<String>, CommandError> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    // Metadata only, so that clusters which cannot be parsed are listed too.
    let list =
        clusters.list_metadata(&ListParams::default()).await.doing("cannot list clusters")?;
    Ok(list.items.iter().map(|cluster| cluster.name_any()).collect())
}

/// Returns the identity for the server of a cluster: from the Secret that `capn up` creates, or
/// from the one named by the LXCCluster.
///
/// # Errors
///
/// Returns an error if the plane does not respond or the Secret does not exist.
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
    let reach = trust::reach(client, namespace).await?;
    secret.as_ref().and_then(|secret| identity_in(secret, reach)).ok_or_else(|| {
        let problem = match (name.as_str(), &secret) {
            ("", _) => "no Secret with the server's identity is named".to_owned(),
            (name, None) => {
                format!("the Secret `{name}` with the server's identity does not exist")
            }
            (name, Some(_)) => format!("the Secret `{name}` has no valid identity for a server"),
        };
        CommandError::new(problem).hint("the LXCCluster names it in `spec.secretRef`")
    })
}

/// Returns the identity in a Secret, if it is valid. `reach` is that of the Secret's namespace.
pub fn identity_in(secret: &Secret, reach: Reach) -> Option<Identity> {
    // The address is shown in messages, so it must not be anything else that a tenant put there.
    capn_provider::Identity::from_secret(secret).ok()?;
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
        reach,
    })
}
