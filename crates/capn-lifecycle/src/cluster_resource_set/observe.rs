//! Reads the clusters that a set selects, what has been applied to them, and the resources.
//! Read-only.

use std::collections::BTreeMap;
use std::sync::Arc;

use capi_api::addons::{RESOURCE_SET_SECRET_TYPE, ResourceKind, ResourceRef};
use capi_api::{Cluster, ClusterResourceSet, ClusterResourceSetBinding, refs};
use capn_controller::lists;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Resource as _, ResourceExt as _};

use super::manifest::{Values, hash};
use crate::Context;
use crate::error::Failure;
use crate::objects::{is_deleting, selector_text, selects};

/// Number of bindings up to which they are read one by one.
const FEW: usize = 20;

/// Observed state of a set.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Clusters by name, without those that are being deleted.
    pub(super) clusters: Vec<Target>,
    /// The resources of the set, in order. Empty if there is no cluster.
    pub(super) resources: Vec<(ResourceRef, Found)>,
}

/// A cluster, and what has been applied to it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) cluster: Arc<Cluster>,
    pub(super) binding: Option<ClusterResourceSetBinding>,
}

/// State of a resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// It does not exist.
    Missing,
    /// It is a Secret of another type, which sets must not use.
    WrongType,
    /// It is a Secret or ConfigMap.
    There {
        /// The hash of its content. `None` if it is empty.
        hash: Option<String>,
        /// Its new owners including the set, if the set is not an owner yet, and the resource
        /// version on which they are based.
        owners: Option<(Vec<OwnerReference>, Option<String>)>,
    },
}

/// Reads the current set. `None` if it is gone. The object that triggered the reconcile may be
/// older.
pub(super) async fn current(
    ctx: &Context,
    set: &ClusterResourceSet,
) -> Result<Option<ClusterResourceSet>, Failure> {
    let api: Api<ClusterResourceSet> =
        Api::namespaced(ctx.client.clone(), &set.namespace().unwrap_or_default());
    api.get_opt(&set.name_any()).await.map_err(Failure::api("get", set))
}

/// Reads everything the set depends on.
pub(super) async fn observe(ctx: &Context, set: &ClusterResourceSet) -> Result<Observed, Failure> {
    let clusters = clusters(ctx, set).await?;
    if clusters.is_empty() {
        return Ok(Observed { clusters: Vec::new(), resources: Vec::new() });
    }
    let mut bindings = bindings_of(ctx, set, &clusters).await?;
    let clusters = clusters
        .into_iter()
        .map(|cluster| Target { binding: bindings.remove(&cluster.name_any()), cluster })
        .collect();
    let mut resources = Vec::new();
    for reference in &set.spec.resources {
        // Only the hash is kept: the content may be large.
        let found = match resource(ctx, set, reference).await? {
            Resource::Missing => Found::Missing,
            Resource::WrongType => Found::WrongType,
            Resource::There { values, meta } => Found::There {
                hash: (!values.is_empty()).then(|| hash(&values)),
                owners: owners(set, &meta),
            },
        };
        resources.push((reference.clone(), found));
    }
    Ok(Observed { clusters, resources })
}

async fn clusters(ctx: &Context, set: &ClusterResourceSet) -> Result<Vec<Arc<Cluster>>, Failure> {
    let selector = &set.spec.cluster_selector;
    if selector_text(selector).is_none() {
        return Ok(Vec::new());
    }
    let fits =
        |cluster: &Cluster| selects(selector, cluster.meta()) && !is_deleting(cluster.meta());
    let namespace = set.namespace().unwrap_or_default();
    let mut clusters = ctx.all::<Cluster>().list(&namespace, fits).await?;
    clusters.sort_by_key(|cluster| cluster.name_any());
    Ok(clusters)
}

/// Returns the bindings of clusters, by name. A few are read one by one, because those of all
/// clusters in the namespace may be large.
async fn bindings_of(
    ctx: &Context,
    set: &ClusterResourceSet,
    clusters: &[Arc<Cluster>],
) -> Result<BTreeMap<String, ClusterResourceSetBinding>, Failure> {
    let named = |found: ClusterResourceSetBinding| (found.name_any(), found);
    if clusters.len() > FEW {
        return Ok(bindings(ctx, set).await?.into_iter().map(named).collect());
    }
    let api: Api<ClusterResourceSetBinding> =
        Api::namespaced(ctx.client.clone(), &set.namespace().unwrap_or_default());
    let mut found = BTreeMap::new();
    for cluster in clusters {
        let binding = api.get_opt(&cluster.name_any()).await;
        found.extend(binding.map_err(Failure::api("get a binding of", set))?.map(named));
    }
    Ok(found)
}

/// Lists the bindings in the namespace of a set.
pub(super) async fn bindings(
    ctx: &Context,
    set: &ClusterResourceSet,
) -> Result<Vec<ClusterResourceSetBinding>, Failure> {
    let api: Api<ClusterResourceSetBinding> =
        Api::namespaced(ctx.client.clone(), &set.namespace().unwrap_or_default());
    let found = lists::list(&api, &ListParams::default()).await;
    Ok(found.map_err(Failure::api("list the bindings of", set))?.items)
}

/// A resource with its content.
pub(super) enum Resource {
    Missing,
    WrongType,
    There { values: Values, meta: Box<ObjectMeta> },
}

/// Reads a resource. Like upstream, `binaryData` is ignored.
pub(super) async fn resource(
    ctx: &Context,
    set: &ClusterResourceSet,
    reference: &ResourceRef,
) -> Result<Resource, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let name = &reference.name;
    let failed = || Failure::api_named("get", reference.kind.as_str(), &namespace, name);
    match reference.kind {
        ResourceKind::Secret => {
            let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &namespace);
            let Some(secret) = api.get_opt(name).await.map_err(failed())? else {
                return Ok(Resource::Missing);
            };
            if secret.type_.as_deref() != Some(RESOURCE_SET_SECRET_TYPE) {
                return Ok(Resource::WrongType);
            }
            let values = secret.data.unwrap_or_default();
            let values = values.into_iter().map(|(key, ByteString(value))| (key, value)).collect();
            Ok(Resource::There { values, meta: Box::new(secret.metadata) })
        }
        ResourceKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &namespace);
            let Some(map) = api.get_opt(name).await.map_err(failed())? else {
                return Ok(Resource::Missing);
            };
            let values = map.data.unwrap_or_default();
            let values = values.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
            Ok(Resource::There { values, meta: Box::new(map.metadata) })
        }
    }
}

fn owners(
    set: &ClusterResourceSet,
    meta: &ObjectMeta,
) -> Option<(Vec<OwnerReference>, Option<String>)> {
    let owners = refs::with_owner(meta.owner_references.as_ref(), set.owner_ref(&())?)?;
    Some((owners, meta.resource_version.clone()))
}
