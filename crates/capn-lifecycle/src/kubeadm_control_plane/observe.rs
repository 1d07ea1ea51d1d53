//! Reads what a control plane consists of. Only reads.

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
use crate::lookup::{Seen, look_up};
use crate::objects::{self, label, label_value, of_cluster};
use crate::pki::PemPair;
use crate::pki::set::{Set, Wanted};
use crate::template::made_kind;
use crate::workload::secret_name;

/// What a control plane consists of.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Its cluster; `None` until that has made itself the owner.
    pub(super) cluster: Option<Cluster>,
    /// Certificates and keys that are there.
    pub(super) certificates: Set,
    /// The secret with the kubeconfig.
    pub(super) kubeconfig: Option<Secret>,
    /// Template of the infrastructure of its machines.
    pub(super) template: Seen,
    /// Its machines, oldest first.
    pub(super) machines: Vec<OwnedMachine>,
    /// Names of the other machines of the cluster.
    pub(super) others: Vec<String>,
    /// Some of those have an older version than the control plane is to have.
    pub(super) is_other_older: bool,
    /// Parts of machines that were never made: a pass was interrupted.
    pub(super) orphans: Vec<ContractRef>,
    /// kubeadm has initialized the control plane, as the status says or as was just seen.
    pub(super) initialized: bool,
    /// Nodes and pods of the workload cluster.
    pub(super) view: View,
}

/// A machine with its parts.
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

/// The object as it is now, or `None` if it is gone. The one that woke us may be older.
pub(super) async fn current(
    ctx: &Context,
    kcp: &Arc<KubeadmControlPlane>,
) -> Result<Option<KubeadmControlPlane>, Failure> {
    let api: Api<KubeadmControlPlane> =
        Api::namespaced(ctx.client.clone(), &kcp.namespace().unwrap_or_default());
    api.get_opt(&kcp.name_any()).await.map_err(Failure::api("get", kcp.as_ref()))
}

/// The cluster that owns a control plane.
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

/// Reads what a control plane consists of.
pub(super) async fn observe(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: Option<Cluster>,
) -> Result<Observed, Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let reference = &kcp.spec.machine_template.spec.infrastructure_ref;
    let template = look_up(ctx, &namespace, Some(reference), &describe(kcp)).await?;
    let mut seen = Observed {
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
    // A cluster that is gone, however that came about, may have left machines behind.
    let name = seen.cluster.as_ref().map(kube::ResourceExt::name_any);
    let label = label(kcp.meta(), labels::CLUSTER_NAME).map(str::to_owned);
    let Some(name) = name.or(label) else { return Ok(seen) };
    machines(ctx, kcp, &name, &mut seen).await?;
    seen.orphans = orphans(ctx, kcp, &seen).await?;
    let Some(cluster) = seen.cluster.clone() else { return Ok(seen) };
    seen.certificates = certificates(ctx, kcp, &name).await?;
    seen.kubeconfig = secret(ctx, &namespace, &secret_name(&name)).await?;
    workload::look(ctx, kcp, &cluster, &mut seen).await;
    Ok(seen)
}

/// The status says that kubeadm has initialized the control plane.
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

/// What the certificates of a control plane have to be like.
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
    seen: &mut Observed,
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
                seen.is_other_older |= is.is_some_and(|is| Some(is) < wanted);
                seen.others.push(machine.name_any());
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
        seen.machines.push(OwnedMachine { machine, config, infrastructure });
    }
    seen.machines
        .sort_by_key(|owned| (owned.machine.creation_timestamp().map(|t| t.0), owned.name()));
    Ok(())
}

/// Parts that belong to the control plane itself: a machine takes its parts over as soon as it is
/// there, so these have none.
async fn orphans(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    seen: &Observed,
) -> Result<Vec<ContractRef>, Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let taken: BTreeSet<String> = seen.machines.iter().map(OwnedMachine::name).collect();
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
    // A provider that is not there has made nothing.
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
