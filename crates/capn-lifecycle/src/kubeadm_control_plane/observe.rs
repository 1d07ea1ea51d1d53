//! Reads the objects of a control plane. Read-only.

use std::collections::BTreeSet;
use std::sync::Arc;

use capi_api::core::ContractRef;
use capi_api::{Cluster, KubeadmConfig, KubeadmControlPlane, Machine, labels, refs};
use capn_controller::lists;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, ListParams, ObjectMeta};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource as _, ResourceExt as _};

use super::health::View;
use super::workload;
use crate::Context;
use crate::error::{Failure, describe};
use crate::kubeadm_config;
use crate::lookup::{Lookup, look_up};
use crate::objects::{self, label, label_value, of_cluster};
use crate::pki::PemPair;
use crate::pki::set::{Set, Wanted};
use crate::template::made_kind;
use crate::workload::secret_name;

/// Observed state of a control plane.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Its cluster. `None` until the cluster has set itself as the owner.
    pub(super) cluster: Option<Cluster>,
    /// Existing certificates and keys.
    pub(super) certificates: Set,
    /// The Secret with the kubeconfig.
    pub(super) kubeconfig: Option<Secret>,
    /// Infrastructure template of its machines.
    pub(super) template: Lookup,
    /// Its machines, oldest first.
    pub(super) machines: Vec<OwnedMachine>,
    /// Names of the other machines of the cluster.
    pub(super) others: Vec<String>,
    /// Whether some of them have an older version than the desired version of the control plane.
    pub(super) is_other_older: bool,
    /// Objects of machines that were never created, because a reconcile was interrupted.
    pub(super) orphans: Vec<ContractRef>,
    /// Whether kubeadm has initialized the control plane, according to the status or to this
    /// observation.
    pub(super) initialized: bool,
    /// Nodes and pods of the workload cluster.
    pub(super) view: View,
}

/// A machine with its objects.
#[derive(Clone, Debug)]
pub(super) struct OwnedMachine {
    pub(super) machine: Machine,
    pub(super) config: Option<KubeadmConfig>,
    pub(super) infrastructure: Option<DynamicObject>,
}

impl OwnedMachine {
    pub(super) fn name(&self) -> String {
        self.machine.name_any()
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.machine.metadata.deletion_timestamp.is_some()
    }
}

/// Reads the current object. `None` if it is gone. The object that triggered the reconcile may be
/// older.
pub(super) async fn current(
    ctx: &Context,
    kcp: &Arc<KubeadmControlPlane>,
) -> Result<Option<KubeadmControlPlane>, Failure> {
    let api: Api<KubeadmControlPlane> =
        Api::namespaced(ctx.client.clone(), &kcp.namespace().unwrap_or_default());
    api.get_opt(&kcp.name_any()).await.map_err(Failure::api("get", kcp.as_ref()))
}

/// Returns the cluster that owns a control plane.
pub(super) async fn cluster(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
) -> Result<Option<Cluster>, Failure> {
    let Some(owner) = refs::owner(kcp.meta(), "cluster.x-k8s.io", "Cluster") else {
        return Ok(None);
    };
    let namespace = kcp.namespace().unwrap_or_default();
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(&owner.name).await.map_err(Failure::api_named(
        "get",
        "Cluster",
        &namespace,
        &owner.name,
    ))
}

/// Reads the objects of a control plane.
pub(super) async fn observe(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: Option<Cluster>,
) -> Result<Observed, Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let reference = &kcp.spec.machine_template.spec.infrastructure_ref;
    let template = look_up(ctx, &namespace, Some(reference), &describe(kcp)).await?;
    let mut observed = Observed {
        cluster,
        certificates: Set::new(),
        kubeconfig: None,
        template,
        machines: Vec::new(),
        others: Vec::new(),
        is_other_older: false,
        orphans: Vec::new(),
        initialized: is_initialized(kcp),
        view: View::NotYet,
    };
    // A deleted cluster may have left machines behind.
    let name = observed.cluster.as_ref().map(kube::ResourceExt::name_any);
    let label = label(kcp.meta(), labels::CLUSTER_NAME).map(str::to_owned);
    let Some(name) = name.or(label) else { return Ok(observed) };
    machines(ctx, kcp, &name, &mut observed).await?;
    observed.orphans = orphans(ctx, kcp, &observed).await?;
    let Some(cluster) = observed.cluster.clone() else { return Ok(observed) };
    observed.certificates = certificates(ctx, kcp, &name).await?;
    observed.kubeconfig = secret(ctx, &namespace, &secret_name(&name)).await?;
    workload::observe_workload(ctx, kcp, &cluster, &mut observed).await;
    Ok(observed)
}

/// Returns whether the status says that kubeadm has initialized the control plane.
pub(super) fn is_initialized(kcp: &KubeadmControlPlane) -> bool {
    let status = kcp.status.as_ref();
    let progress = status.and_then(|status| status.initialization.as_ref());
    progress.and_then(|progress| progress.control_plane_initialized) == Some(true)
}

async fn certificates(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: &str,
) -> Result<Set, Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let mut set = Set::new();
    for purpose in wanted(kcp).purposes() {
        let secret = secret(ctx, &namespace, &purpose.secret_name(cluster)).await?;
        if let Some(pair) = secret.as_ref().and_then(PemPair::from_secret) {
            set.insert(purpose, pair);
        }
    }
    Ok(set)
}

/// Returns the desired certificates of a control plane.
pub(super) fn wanted(kcp: &KubeadmControlPlane) -> Wanted {
    let spec = kcp.spec.kubeadm_config_spec.as_ref();
    Wanted::of(spec.and_then(|spec| spec.cluster_configuration.as_ref()))
}

async fn secret(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Secret>, Failure> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Secret", namespace, name))
}

async fn machines(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: &str,
    observed: &mut Observed,
) -> Result<(), Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = lists::list(&api, &ListParams::default().labels(&of_cluster(cluster)))
        .await
        .map_err(Failure::api_named("list", "machines", &namespace, cluster))?;
    let wanted = objects::version(&kcp.spec.version);
    let uid = kcp.uid().unwrap_or_default();
    let configs: Api<KubeadmConfig> = Api::namespaced(ctx.client.clone(), &namespace);
    for machine in found.items {
        if !refs::is_controlled_by(machine.meta(), &uid) {
            if !machine.is_control_plane() {
                let is = machine.spec.version.as_deref().and_then(objects::version);
                observed.is_other_older |= is.is_some_and(|is| Some(is) < wanted);
                observed.others.push(machine.name_any());
            }
            continue;
        }
        let config = match &machine.spec.bootstrap.config_ref {
            Some(reference) if reference.kind == kubeadm_config::KIND => {
                configs.get_opt(&reference.name).await.map_err(Failure::api_named(
                    "get",
                    kubeadm_config::KIND,
                    &namespace,
                    &reference.name,
                ))?
            }
            _ => None,
        };
        let infrastructure = &machine.spec.infrastructure_ref;
        let found = look_up(ctx, &namespace, Some(infrastructure), &describe(&machine)).await?;
        let infrastructure = found.found().cloned();
        observed.machines.push(OwnedMachine { machine, config, infrastructure });
    }
    observed
        .machines
        .sort_by_key(|owned| (owned.machine.creation_timestamp().map(|t| t.0), owned.name()));
    Ok(())
}

/// Returns objects that belong to the control plane directly. A machine becomes the owner of its
/// objects as soon as it exists, so these have none.
async fn orphans(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    observed: &Observed,
) -> Result<Vec<ContractRef>, Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let taken: BTreeSet<String> = observed.machines.iter().map(OwnedMachine::name).collect();
    let uid = kcp.uid().unwrap_or_default();
    let is_orphan = |meta: &ObjectMeta| {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        meta.deletion_timestamp.is_none()
            && owners.iter().any(|owner| owner.uid == uid)
            && !owners.iter().any(|owner| owner.kind == "Machine")
            && meta.name.as_ref().is_some_and(|name| !taken.contains(name))
    };
    let selector = format!("{}={}", labels::CONTROL_PLANE_NAME, label_value(&kcp.name_any()));
    let params = ListParams::default().labels(&selector);
    let mut orphans = Vec::new();
    let configs: Api<PartialObjectMeta<KubeadmConfig>> =
        Api::namespaced(ctx.client.clone(), &namespace);
    let configs = configs.list(&params).await.map_err(Failure::api_named(
        "list",
        "kubeadmconfigs",
        &namespace,
        &selector,
    ))?;
    for config in configs.items.iter().filter(|config| is_orphan(config.meta())) {
        let name = config.name_any();
        orphans.push(ContractRef::new(kubeadm_config::GROUP, kubeadm_config::KIND, name));
    }
    let template = &kcp.spec.machine_template.spec.infrastructure_ref;
    let kind = made_kind(&template.kind);
    let reference = ContractRef::new(&template.api_group, kind, "");
    // Without its provider, a kind has no objects.
    if let Ok((api, _)) = ctx.contracts.api(&namespace, &reference).await {
        let objects = api
            .list(&params)
            .await
            .map_err(Failure::api_named("list", kind, &namespace, &selector))?;
        for object in objects.items.iter().filter(|object| is_orphan(&object.metadata)) {
            orphans.push(ContractRef::new(&template.api_group, kind, object.name_any()));
        }
    }
    Ok(orphans)
}
