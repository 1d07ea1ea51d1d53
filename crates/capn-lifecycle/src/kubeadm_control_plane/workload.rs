//! Reads the workload cluster: whether it is initialized, and the health of its components.

use std::collections::BTreeMap;
use std::time::Duration;

use capi_api::controlplane::SKIP_KUBE_PROXY;
use capi_api::{Cluster, KubeadmControlPlane};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, Resource as _, ResourceExt as _};

use super::health::{Components, EtcdState, View};
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

/// Namespace of the control plane pods.
pub(super) const NAMESPACE: &str = "kube-system";
/// Label of the control plane pods that kubeadm creates.
pub(super) const PODS: &str = "tier=control-plane";
/// ConfigMap that `kubeadm init` writes at the end.
const KUBEADM_CONFIG: &str = "kubeadm-config";
/// Timeout for an API server that may not be running yet.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for a running API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the workload cluster, if there can be one. Errors are part of the result.
pub(super) async fn observe_workload(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: &Cluster,
    observed: &mut Observed,
) {
    if is_deleting(kcp.meta()) || !may_have_api_server(observed) {
        return;
    }
    let client = match workload::client(ctx, cluster).await {
        Ok(client) => client,
        Err(error) if error.is_refusal() => {
            observed.view = View::Down { problem: chain(&error) };
            return;
        }
        Err(error) => {
            observed.view = unreachable(ctx, cluster, observed.initialized, chain(&error));
            return;
        }
    };
    if !observed.initialized {
        match is_kubeadm_done(&client).await {
            Ok(true) => observed.initialized = true,
            Ok(false) => return,
            Err(error) => {
                tracing::trace!(
                    cluster = cluster.name_any(),
                    error = chain(&error),
                    "not there yet"
                );
                if !error.is_unreachable() {
                    observed.view = View::Down { problem: chain(&error) };
                }
                return;
            }
        }
    }
    let nodes: Vec<_> =
        observed.machines.iter().filter_map(|owned| owned.machine.node_name()).collect();
    let is_binding_needed = kubelet_access::is_needed(kcp, &observed.machines);
    observed.view = match components(&client, kcp, &nodes, is_binding_needed).await {
        Ok(mut components) => {
            if has_stacked_etcd(kcp)
                && let Some(etcd) = etcd_of(ctx, cluster, client, observed)
            {
                components.etcd = ask_etcd(&etcd, observed, &components).await;
            }
            View::Reachable(components)
        }
        Err(error) => unreachable(ctx, cluster, observed.initialized, chain(&error)),
    };
}

/// Returns whether an API server may exist, which is the case once there is an instance. A single
/// machine that is being deleted, or the first of several, is not asked whether it initialized the
/// cluster: a machine that is gone shortly after must not count.
pub(super) fn may_have_api_server(observed: &Observed) -> bool {
    if observed.kubeconfig.is_none() {
        return false;
    }
    if observed.initialized {
        return true;
    }
    let mut machines = observed.machines.iter();
    let last_one_goes = observed.machines.len() == 1 && machines.all(|owned| owned.is_deleting());
    let mut first = observed.machines.iter().filter(|owned| initializes(owned)).peekable();
    let first_goes = first.peek().is_some() && first.all(|owned| owned.is_deleting());
    !last_one_goes
        && !first_goes
        && observed.machines.iter().any(|owned| owned.machine.infrastructure_provisioned())
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
    let namespace = kcp.namespace().unwrap_or_default();
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
            capn_controller::workload::list(&pods, &params, &namespace, |_| {})
        ),
        kubelets,
    )?;
    let nodes = nodes.into_iter().flatten().collect();
    let (nodes, pods) = (by_name(nodes), by_name(pods));
    let kube_proxy = match annotation(kcp.meta(), SKIP_KUBE_PROXY) {
        None => kube_proxy::read(client, &namespace, &nodes, &kcp.spec.version).await?,
        Some(_) => kube_proxy::KubeProxyState::default(),
    };
    Ok(Components { nodes, pods, etcd: EtcdState::NotAsked, kubelets, kube_proxy })
}

/// Returns the etcd client of the cluster, if its CA certificate exists.
pub(super) fn etcd_of(
    ctx: &Context,
    cluster: &Cluster,
    client: Client,
    observed: &Observed,
) -> Option<Etcd> {
    let authority = observed.certificates.get(&Purpose::EtcdCa)?;
    Some(workload::etcd_of(ctx, cluster, client, authority.clone()))
}

/// Queries the members one after the other until one responds, starting with those of machines that
/// remain.
async fn ask_etcd(etcd: &Etcd, observed: &Observed, components: &Components) -> EtcdState {
    let mut machines: Vec<_> = observed.machines.iter().collect();
    machines.sort_by_key(|owned| owned.is_deleting());
    let nodes = machines.iter().filter_map(|owned| owned.machine.node_name());
    let mut last = EtcdState::NotAsked;
    for node in nodes.filter(|node| components.has_etcd(node)) {
        match etcd.view(node).await {
            Ok(view) => return EtcdState::Answered(view),
            Err(error) => last = EtcdState::Failed(chain(&error)),
        }
    }
    last
}

fn by_name<K: kube::Resource>(list: Vec<K>) -> BTreeMap<String, K> {
    list.into_iter().map(|object| (object.name_any(), object)).collect()
}

/// A failure only counts if the node watch fails too: a restarting API server is unreachable for
/// some seconds, which does not make a machine unhealthy.
fn unreachable(ctx: &Context, cluster: &Cluster, initialized: bool, problem: String) -> View {
    let connection = ctx.nodes.get(&ClusterKey::of(cluster)).map(|nodes| nodes.connection());
    match connection {
        Some(Connection::Down { last_success: Some(_) }) if initialized => View::Down { problem },
        _ => {
            tracing::debug!(
                cluster = cluster.name_any(),
                problem,
                "the workload cluster does not respond"
            );
            View::Silent
        }
    }
}
