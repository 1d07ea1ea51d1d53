//! The Kubernetes objects related to an LXCMachine or LXCCluster.

use capi_api::{core::Cluster, labels, refs};
use capn_api::LXCCluster;
use capn_plan::families::{self, Family};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Secret};
use kube::{Api, Client, Resource, api::ObjectMeta};
use serde::de::DeserializeOwned;

use crate::{failure::Failure, remote::IdentityError};

/// Reads an object. `None`: it does not exist.
pub(crate) async fn get<K>(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    Api::namespaced(client.clone(), namespace).get_opt(name).await.map_err(Failure::kube_named(
        "get",
        &K::kind(&()),
        namespace,
        name,
    ))
}

/// Returns the families of which nodes need addresses: those of the cluster's pods and Services.
/// Empty if the Cluster does not set them or has no nodes.
pub(crate) fn families(cluster: &Cluster) -> Vec<Family> {
    if cluster.is_without_bootstrap() {
        return Vec::new();
    }
    let network = cluster.spec.cluster_network.as_ref();
    let ranges = network.map(|network| [&network.services, &network.pods]);
    let cidrs = ranges.into_iter().flatten().flatten().flat_map(|ranges| &ranges.cidr_blocks);
    families::of(cidrs)
}

/// Returns the family of the first Service CIDR, which is also that of the API server endpoint.
pub(crate) fn service_family(cluster: &Cluster) -> Option<Family> {
    if cluster.is_without_bootstrap() {
        return None;
    }
    let services = cluster.spec.cluster_network.as_ref()?.services.as_ref()?;
    services.cidr_blocks.first().map(|cidr| Family::of_cidr(cidr))
}

/// Returns the Cluster that the label of an object names.
pub(crate) async fn cluster_of(
    client: &Client,
    meta: &ObjectMeta,
) -> Result<Option<Cluster>, Failure> {
    match label(meta, labels::CLUSTER_NAME) {
        Some(name) => get(client, namespace(meta), name).await,
        None => Ok(None),
    }
}

/// Returns the owner with a kind of Cluster API core.
pub(crate) async fn owner<K>(client: &Client, meta: &ObjectMeta) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    match refs::owner(meta, &K::group(&()), &K::kind(&())) {
        Some(owner) => get(client, namespace(meta), &owner.name).await,
        None => Ok(None),
    }
}

/// Returns the LXCCluster that a Cluster refers to as its infrastructure.
pub(crate) async fn infrastructure_of(
    client: &Client,
    cluster: &Cluster,
) -> Result<Option<LXCCluster>, Failure> {
    match &cluster.spec.infrastructure_ref {
        Some(infra) if infra.kind == "LXCCluster" => {
            get(client, namespace(&cluster.metadata), &infra.name).await
        }
        Some(_) | None => Ok(None),
    }
}

/// Returns the Secret with the identity for the server of an LXCCluster.
pub(crate) async fn identity_of(client: &Client, cluster: &LXCCluster) -> Result<Secret, Failure> {
    let namespace = namespace(&cluster.metadata);
    let name = &cluster.spec.secret_ref.name;
    let failure = |source| Failure::Identity { secret: format!("{namespace}/{name}"), source };
    if cluster.spec.secret_ref.is_empty() {
        return Err(failure(IdentityError::Unnamed));
    }
    get(client, namespace, name).await?.ok_or_else(|| failure(IdentityError::Absent))
}

/// Returns whether an object or its Cluster is paused.
pub(crate) fn is_paused(meta: &ObjectMeta, cluster: Option<&Cluster>) -> bool {
    annotation(meta, labels::PAUSED).is_some()
        || cluster.is_some_and(|cluster| cluster.spec.paused == Some(true))
}

/// Returns the value of a label.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// Returns the value of an annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Returns the namespace of an object.
pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// Returns the name of an object.
pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}
