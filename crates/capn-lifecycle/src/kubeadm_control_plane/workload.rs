//! Looks into the workload cluster: is it initialized, and how are its parts?

use std::collections::BTreeMap;
use std::time::Duration;

use capi_api::controlplane::SKIP_KUBE_PROXY;
use capi_api::{Cluster, KubeadmControlPlane};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, Resource as _, ResourceExt as _};

use super::health::{Components, EtcdSeen, View};
use super::kube_proxy;
use super::kubelet_access::{self, Access};
use super::observe::Observed;
use super::plan::initializes;
use super::validate::has_stacked_etcd;
use crate::Context;
use crate::error::chain;
use crate::nodes::{ClusterKey, Connection};
use crate::objects::{annotation, is_deleting};
use crate::pki::Purpose;
use crate::workload::{self, answer, etcd::Etcd};

/// Namespace of the control plane's pods.
pub(super) const NAMESPACE: &str = "kube-system";
/// Label of the pods that kubeadm makes for a control plane.
pub(super) const PODS: &str = "tier=control-plane";
/// What `kubeadm init` writes when it is through with the control plane.
const KUBEADM_CONFIG: &str = "kubeadm-config";
/// How long to wait for an API server that may not be there yet.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for one that is.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks, if there can be something to see. What goes wrong is part of what is seen.
pub(super) async fn look(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: &Cluster,
    seen: &mut Observed,
) {
    if is_deleting(kcp.meta()) || !worth_a_look(seen) {
        return;
    }
    let client = match workload::client(ctx, cluster).await {
        Ok(client) => client,
        Err(error) if error.is_refusal() => {
            seen.view = View::Down { problem: chain(&error) };
            return;
        }
        Err(error) => {
            seen.view = unreachable(ctx, cluster, seen.initialized, chain(&error));
            return;
        }
    };
    if !seen.initialized {
        match is_kubeadm_done(&client).await {
            Ok(true) => seen.initialized = true,
            Ok(false) => return,
            Err(error) => {
                tracing::trace!(
                    cluster = cluster.name_any(),
                    error = chain(&error),
                    "not there yet"
                );
                if !error.is_unreachable() {
                    seen.view = View::Down { problem: chain(&error) };
                }
                return;
            }
        }
    }
    let nodes: Vec<_> =
        seen.machines.iter().filter_map(|owned| owned.machine.node_name()).collect();
    let is_binding_needed = kubelet_access::is_needed(kcp, &seen.machines);
    seen.view = match components(&client, kcp, &nodes, is_binding_needed).await {
        Ok(mut components) => {
            if has_stacked_etcd(kcp)
                && let Some(etcd) = etcd_of(ctx, cluster, client, seen)
            {
                components.etcd = ask_etcd(&etcd, seen, &components).await;
            }
            View::Seen(components)
        }
        Err(error) => unreachable(ctx, cluster, seen.initialized, chain(&error)),
    };
}

/// An API server may be there as soon as there is an instance. A single machine that is on its way
/// out, or the first of several, is not asked whether it initializes the cluster: a cluster must not
/// count as initialized by a machine that is gone a moment later.
pub(super) fn worth_a_look(seen: &Observed) -> bool {
    if seen.kubeconfig.is_none() {
        return false;
    }
    if seen.initialized {
        return true;
    }
    let mut machines = seen.machines.iter();
    let last_one_goes = seen.machines.len() == 1 && machines.all(|owned| owned.is_deleting());
    let mut first = seen.machines.iter().filter(|owned| initializes(owned)).peekable();
    let first_goes = first.peek().is_some() && first.all(|owned| owned.is_deleting());
    !last_one_goes
        && !first_goes
        && seen.machines.iter().any(|owned| owned.machine.infrastructure_provisioned())
}

async fn is_kubeadm_done(client: &Client) -> Result<bool, workload::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let found = answer(
        "read the ConfigMap kube-system/kubeadm-config",
        PROBE_TIMEOUT,
        api.get_metadata_opt(KUBEADM_CONFIG),
    )
    .await?;
    Ok(found.is_some())
}

async fn components(
    client: &Client,
    kcp: &KubeadmControlPlane,
    names: &[&str],
    is_binding_needed: bool,
) -> Result<Components, workload::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let params = ListParams::default().labels(PODS);
    let requests = names
        .iter()
        .map(|name| answer("read the control plane nodes", REQUEST_TIMEOUT, nodes.get_opt(name)));
    let kubelets = async {
        if is_binding_needed { kubelet_access::read(client).await } else { Ok(Access::NotNeeded) }
    };
    let (nodes, pods, kubelets) = futures::try_join!(
        futures::future::try_join_all(requests),
        answer(
            "list the control plane pods",
            REQUEST_TIMEOUT,
            capn_controller::workload::list(&pods, &params)
        ),
        kubelets,
    )?;
    let nodes = nodes.into_iter().flatten().collect();
    let (nodes, pods) = (by_name(nodes), by_name(pods));
    let kube_proxy = match annotation(kcp.meta(), SKIP_KUBE_PROXY) {
        None => kube_proxy::read(client, &nodes, &kcp.spec.version).await?,
        Some(_) => kube_proxy::Seen::default(),
    };
    Ok(Components { nodes, pods, etcd: EtcdSeen::NotAsked, kubelets, kube_proxy })
}

/// etcd of the cluster, if its authority is there.
pub(super) fn etcd_of(
    ctx: &Context,
    cluster: &Cluster,
    client: Client,
    seen: &Observed,
) -> Option<Etcd> {
    let authority = seen.certificates.get(&Purpose::EtcdCa)?;
    Some(workload::etcd_of(ctx, cluster, client, authority.clone()))
}

/// Asks one member after the other until one answers; those of machines that stay come first.
async fn ask_etcd(etcd: &Etcd, seen: &Observed, components: &Components) -> EtcdSeen {
    let mut machines: Vec<_> = seen.machines.iter().collect();
    machines.sort_by_key(|owned| owned.is_deleting());
    let nodes = machines.iter().filter_map(|owned| owned.machine.node_name());
    let mut last = EtcdSeen::NotAsked;
    for node in nodes.filter(|node| components.has_etcd(node)) {
        match etcd.view(node).await {
            Ok(view) => return EtcdSeen::Answered(view),
            Err(error) => last = EtcdSeen::Failed(chain(&error)),
        }
    }
    last
}

fn by_name<K: kube::Resource>(list: Vec<K>) -> BTreeMap<String, K> {
    list.into_iter().map(|object| (object.name_any(), object)).collect()
}

/// A failure counts as long as the watch of the nodes says so too: an API server that restarts is
/// silent for some seconds, and a machine is not unhealthy for that.
fn unreachable(ctx: &Context, cluster: &Cluster, initialized: bool, problem: String) -> View {
    let connection = ctx.nodes.get(&ClusterKey::of(cluster)).map(|nodes| nodes.connection());
    match connection {
        Some(Connection::Down { last_success: Some(_) }) if initialized => View::Down { problem },
        _ => {
            tracing::debug!(cluster = cluster.name_any(), problem, "workload cluster is silent");
            View::Silent
        }
    }
}
