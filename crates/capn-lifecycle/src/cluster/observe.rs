//! Reads what a cluster consists of. Only reads.

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineDeployment, MachinePool, MachineSet};
use capn_controller::lists;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::descendants::Descendants;
use crate::Context;
use crate::error::{Failure, describe};
use crate::lookup::{Seen, look_up_for};
use crate::nodes::{ClusterKey, Connection};
use crate::objects::of_cluster;
use crate::pki::{PemPair, Purpose};
use crate::workload::secret_name;

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) infrastructure: Seen,
    pub(super) control_plane: Seen,
    pub(super) descendants: Descendants,
    pub(super) connection: Connection,
    /// Why the kubeconfig is not used, where it is not.
    pub(super) refused: Option<String>,
    /// Read only for clusters whose kubeconfig is made here.
    pub(super) access: Option<Access>,
}

/// What it takes to make a kubeconfig.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// The secret with the kubeconfig.
    pub(super) kubeconfig: Option<Secret>,
    /// The cluster's authority.
    pub(super) authority: Option<PemPair>,
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
        look_up_for(ctx, &namespace, spec.infrastructure_ref.as_ref(), &on_behalf_of, cluster),
        look_up_for(ctx, &namespace, spec.control_plane_ref.as_ref(), &on_behalf_of, cluster),
    )?;
    let descendants = Descendants {
        machines: list::<Machine>(ctx, &namespace, &name).await?,
        machine_sets: list::<MachineSet>(ctx, &namespace, &name).await?,
        machine_deployments: list::<MachineDeployment>(ctx, &namespace, &name).await?,
        machine_pools: list::<MachinePool>(ctx, &namespace, &name).await?,
    };
    let nodes = ctx.nodes.get(&ClusterKey::of(cluster));
    let connection = nodes.as_ref().map_or(Connection::NotYet, |nodes| nodes.connection());
    let refused = nodes.and_then(|nodes| nodes.refused());
    let access = if makes_kubeconfig(cluster) { Some(access(ctx, cluster).await?) } else { None };
    Ok(Observed { infrastructure, control_plane, descendants, connection, refused, access })
}

/// No control plane object makes the cluster's kubeconfig, but kubeadm makes its control plane.
fn makes_kubeconfig(cluster: &Cluster) -> bool {
    let spec = &cluster.spec;
    spec.control_plane_ref.is_none() && spec.topology.is_none() && !cluster.is_without_bootstrap()
}

async fn access(ctx: &Context, cluster: &Cluster) -> Result<Access, Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = cluster.name_any();
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &namespace);
    let get = async |name: String| {
        let secret = secrets.get_opt(&name).await;
        secret.map_err(Failure::api_named("get", "Secret", &namespace, &name))
    };
    let authority = get(Purpose::ClusterCa.secret_name(&name)).await?;
    Ok(Access {
        kubeconfig: get(secret_name(&name)).await?,
        authority: authority.as_ref().and_then(PemPair::from_secret),
    })
}

async fn list<K>(ctx: &Context, namespace: &str, cluster: &str) -> Result<Vec<K>, Failure>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let found = lists::list(&api, &ListParams::default().labels(&of_cluster(cluster)))
        .await
        .map_err(Failure::api_named("list", &K::plural(&()), namespace, cluster))?;
    Ok(found.items)
}
