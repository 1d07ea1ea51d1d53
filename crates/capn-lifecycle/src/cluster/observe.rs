//! Reads what a cluster consists of. Only reads.

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineDeployment, MachinePool, MachineSet};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::descendants::Descendants;
use crate::Context;
use crate::error::{Failure, describe};
use crate::lookup::{Seen, look_up};
use crate::nodes::{ClusterKey, Connection};
use crate::objects::of_cluster;

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) infrastructure: Seen,
    pub(super) control_plane: Seen,
    pub(super) descendants: Descendants,
    pub(super) connection: Connection,
}

/// The cluster as it is now, or `None` if it is gone. The one that woke us may be older.
pub(super) async fn current(
    ctx: &Context,
    cluster: &Arc<Cluster>,
) -> Result<Option<Cluster>, Failure> {
    let api: Api<Cluster> =
        Api::namespaced(ctx.client.clone(), &cluster.namespace().unwrap_or_default());
    api.get_opt(&cluster.name_any()).await.map_err(Failure::api("get", cluster.as_ref()))
}

/// Reads what a cluster consists of.
pub(super) async fn observe(ctx: &Context, cluster: &Cluster) -> Result<Observed, Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = cluster.name_any();
    let on_behalf_of = describe(cluster);
    let spec = &cluster.spec;
    let (infrastructure, control_plane) = futures::try_join!(
        look_up(ctx, &namespace, spec.infrastructure_ref.as_ref(), &on_behalf_of),
        look_up(ctx, &namespace, spec.control_plane_ref.as_ref(), &on_behalf_of),
    )?;
    let descendants = Descendants {
        machines: list::<Machine>(ctx, &namespace, &name).await?,
        machine_sets: list::<MachineSet>(ctx, &namespace, &name).await?,
        machine_deployments: list::<MachineDeployment>(ctx, &namespace, &name).await?,
        machine_pools: list::<MachinePool>(ctx, &namespace, &name).await?,
    };
    let connection = ctx
        .nodes
        .get(&ClusterKey::of(cluster))
        .map_or(Connection::NotYet, |nodes| nodes.connection());
    Ok(Observed { infrastructure, control_plane, descendants, connection })
}

async fn list<K>(ctx: &Context, namespace: &str, cluster: &str) -> Result<Vec<K>, Failure>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let found = api
        .list(&ListParams::default().labels(&of_cluster(cluster)))
        .await
        .map_err(Failure::api_named("list", &K::plural(&()), namespace, cluster))?;
    Ok(found.items)
}
