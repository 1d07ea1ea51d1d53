//! Reads the nodes of a cluster, from the workload cluster, and their machines.

use std::{collections::HashMap, sync::Arc, time::Duration};

use capi_api::{core::Cluster, labels};
use capn_api::LXCMachine;
use capn_controller::lists;
use capn_plan::{cni::PodRouting, flannel};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{Api, api::ListParams};

use super::nodes::NodeWatches;
use crate::{
    context::Context,
    failure::Failure,
    references::{self, name, namespace},
    remote::Remote,
};

/// Delay until the kubeconfig of a new cluster is checked again.
pub(crate) const KUBECONFIG_PAUSE: Duration = Duration::from_secs(2);

/// Observed state that the pod network of one cluster depends on.
pub(crate) struct Observed {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) machines: Vec<LXCMachine>,
    pub(crate) remote: Arc<Remote>,
}

/// Reads the state. `None`: the cluster is not ready for it yet.
pub(crate) async fn observe(
    ctx: &Context,
    cluster: &Cluster,
    watches: &NodeWatches,
) -> Result<Option<Observed>, Failure> {
    let (within, cluster_name) = (namespace(&cluster.metadata), name(&cluster.metadata));
    let kubeconfig = format!("{cluster_name}-kubeconfig");
    let Some(kubeconfig) = references::get::<Secret>(&ctx.client, within, &kubeconfig).await?
    else {
        return Ok(None);
    };
    let Some(lxc_cluster) = references::infrastructure_of(&ctx.client, cluster).await? else {
        return Ok(None);
    };
    let nodes = watches.nodes(cluster, &kubeconfig)?;
    let of_cluster = format!("{}={cluster_name}", labels::CLUSTER_NAME);
    let machines = Api::<LXCMachine>::namespaced(ctx.client.clone(), within);
    let machines = lists::list(&machines, &ListParams::default().labels(&of_cluster))
        .await
        .map_err(Failure::kube_named("list the machines of", "Cluster", within, cluster_name))?
        .items;
    let secret = references::identity_of(&ctx.client, &lxc_cluster).await?;
    let remote = ctx.remote(&secret).await?;
    Ok(Some(Observed { nodes, machines, remote }))
}

/// Returns how the pods of each instance reach the others through flannel. The MTU follows from the
/// first NIC of the instance. Instances that do not exist or do not run are left out.
pub(crate) async fn overlay(
    found: &Observed,
    pod_cidrs: &[String],
) -> Result<HashMap<String, PodRouting>, Failure> {
    let families = flannel::families(pod_cidrs);
    let mut carriers = HashMap::new();
    for machine in &found.machines {
        let instance = machine.instance_name();
        let failure = Failure::server("check", instance);
        let Some(observed) = found.remote.client.instance_full(instance).await.map_err(failure)?
        else {
            continue;
        };
        let cards = observed.state.iter().flat_map(|state| &state.network);
        let nic = cards.filter(|(_, nic)| !nic.host_name.is_empty()).find_map(|(name, nic)| {
            let is_card = observed.expanded_devices.iter().any(|(key, device)| {
                device.get("type").is_some_and(|kind| kind == "nic")
                    && device.get("name").unwrap_or(key) == name
            });
            u32::try_from(nic.mtu).ok().filter(|mtu| is_card && *mtu > 0)
        });
        if let Some(mtu) = nic {
            let mtu = flannel::mtu(mtu, &families);
            carriers.insert(instance.to_owned(), PodRouting::Overlay { mtu });
        }
    }
    Ok(carriers)
}
