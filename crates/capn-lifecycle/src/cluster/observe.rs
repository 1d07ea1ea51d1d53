//! Reads the objects of a cluster. Read-only.

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineDeployment, MachinePool, MachineSet, labels};
use capn_controller::watch::Kind;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};

use super::descendants::Descendants;
use crate::Context;
use crate::error::{Failure, describe};
use crate::lookup::{Lookup, look_up_for};
use crate::nodes::{ClusterKey, Connection};
use crate::objects::label;
use crate::pki::{PemPair, Purpose};
use crate::workload::secret_name;

/// Observed state of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) infrastructure: Lookup,
    pub(super) control_plane: Lookup,
    pub(super) descendants: Descendants,
    pub(super) connection: Connection,
    /// The reason the kubeconfig is not used, if it was rejected.
    pub(super) refused: Option<String>,
    /// Only read for clusters whose kubeconfig is created here.
    pub(super) access: Option<Access>,
}

/// Inputs of a kubeconfig.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// The Secret with the kubeconfig.
    pub(super) kubeconfig: Option<Secret>,
    /// The cluster's certificate authority.
    pub(super) authority: Option<PemPair>,
}

/// Reads the current cluster. `None` if it is gone. The object that triggered the reconcile may be
/// older.
pub(super) async fn current(
    ctx: &Context,
    cluster: &Arc<Cluster>,
) -> Result<Option<Cluster>, Failure> {
    let api: Api<Cluster> =
        Api::namespaced(ctx.client.clone(), &cluster.namespace().unwrap_or_default());
    api.get_opt(&cluster.name_any()).await.map_err(Failure::api("get", cluster.as_ref()))
}

/// Reads the objects of a cluster.
pub(super) async fn observe(ctx: &Context, cluster: &Cluster) -> Result<Observed, Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let on_behalf_of = describe(cluster);
    let spec = &cluster.spec;
    let (infrastructure, control_plane) = futures::try_join!(
        look_up_for(ctx, &namespace, spec.infrastructure_ref.as_ref(), &on_behalf_of, cluster),
        look_up_for(ctx, &namespace, spec.control_plane_ref.as_ref(), &on_behalf_of, cluster),
    )?;
    let descendants = Descendants {
        machines: known::<Machine>(ctx, cluster).await?,
        machine_sets: known::<MachineSet>(ctx, cluster).await?,
        machine_deployments: known::<MachineDeployment>(ctx, cluster).await?,
        machine_pools: known::<MachinePool>(ctx, cluster).await?,
    };
    let nodes = ctx.nodes.get(&ClusterKey::of(cluster));
    let connection = nodes.as_ref().map_or(Connection::NotYet, |nodes| nodes.connection());
    let refused = nodes.and_then(|nodes| nodes.refused());
    let access = if makes_kubeconfig(cluster) { Some(access(ctx, cluster).await?) } else { None };
    Ok(Observed { infrastructure, control_plane, descendants, connection, refused, access })
}

/// Returns whether kubeadm creates the control plane but no control plane object creates the
/// kubeconfig.
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

/// Returns the known objects with the label of a cluster. Objects that become known later trigger a
/// reconcile.
async fn known<K: Kind>(ctx: &Context, cluster: &Cluster) -> Result<Vec<Arc<K>>, Failure> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let is_below = |object: &K| label(object.meta(), labels::CLUSTER_NAME) == Some(&*name);
    let mut all = ctx.all::<K>().list(&namespace, is_below).await?;
    all.sort_by_key(|object| object.name_any());
    Ok(all)
}
