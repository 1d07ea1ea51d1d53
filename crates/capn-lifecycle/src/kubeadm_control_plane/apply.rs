//! Executes the plan of a control plane. Nothing else except `report` writes.

use std::collections::BTreeSet;

use capi_api::controlplane::{PRE_TERMINATE_HOOK, REMEDIATION_IN_PROGRESS};
use capi_api::core::ContractRef;
use capi_api::{Cluster, KubeadmControlPlane, labels};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::observe::Observed;
use super::step::{Action, Plan};
use super::validate::Valid;
use super::{certificates, coredns, create, expiry, kube_proxy, kubelet_access, upgrade, workload};
use crate::Context;
use crate::contract;
use crate::error::{Failure, chain, describe};
use crate::owned_machines;
use crate::patch;
use crate::workload::etcd::{Error as EtcdError, Etcd};

/// Changes made by a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Applied {
    /// The event of a write triggers the next reconcile at once: there is nothing to report.
    pub(super) again: bool,
    /// Machines that have changed since they were read.
    pub(super) touched: BTreeSet<String>,
}

/// Executes a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is computed again from the new state.
pub(super) async fn apply(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    observed: &Observed,
    valid: Option<&Valid>,
    plan: &Plan,
) -> Result<Applied, Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let api: Api<KubeadmControlPlane> = Api::namespaced(ctx.client.clone(), &namespace);
    let finalizer = labels::KUBEADM_CONTROL_PLANE_FINALIZER;
    let mut done = Applied::default();
    for action in &plan.actions {
        match action {
            Action::AddFinalizer => {
                patch::add_finalizer(&api, kcp, finalizer).await?;
                done.again = true;
            }
            Action::RemoveFinalizer => {
                patch::remove_finalizer(&api, kcp, finalizer).await?;
                done.again = true;
            }
            Action::OwnTemplate(owners) => {
                let change = json!({ "metadata": { "ownerReferences": owners } });
                let reference = &kcp.spec.machine_template.spec.infrastructure_ref;
                patch_external(ctx, kcp, reference, &change).await?;
            }
            Action::MakeCertificates(purposes) => {
                if let Some(cluster) = &observed.cluster {
                    certificates::make(ctx, kcp, cluster, purposes).await?;
                }
                done.again = true;
            }
            Action::WriteKubeconfig => certificates::write_kubeconfig(ctx, kcp, observed).await?,
            Action::Sync { machine, change } => {
                let manager = labels::MANAGER_KUBEADM_CONTROL_PLANE;
                owned_machines::patch(ctx, manager, &namespace, machine, change).await?;
                done.touched.insert(machine.clone());
            }
            Action::DeleteOrphans(orphans) => {
                for orphan in orphans {
                    tracing::info!(%orphan, "deleting objects of an interrupted reconcile");
                    ctx.contracts
                        .delete(&namespace, orphan)
                        .await
                        .map_err(|source| Failure::Contract { object: describe(kcp), source })?;
                }
                done.again = true;
            }
            Action::DropHook { machine } => {
                let change = json!({ "metadata": { "annotations": { PRE_TERMINATE_HOOK: null } } });
                owned_machines::patch(
                    ctx,
                    labels::MANAGER_KUBEADM_CONTROL_PLANE,
                    &namespace,
                    machine,
                    &change,
                )
                .await?;
                done.touched.insert(machine.clone());
            }
            Action::TransferLeadership { from, to } => {
                tracing::info!(%to, "moving the etcd leadership");
                let etcd = etcd(ctx, kcp, observed).await?;
                etcd.transfer_leadership(from, *to).await.map_err(etcd_failure(kcp))?;
                done.again = true;
            }
            Action::RemoveMember { via, member } => {
                tracing::info!(%member, "removing an etcd member");
                let etcd = etcd(ctx, kcp, observed).await?;
                etcd.remove(via, *member).await.map_err(etcd_failure(kcp))?;
            }
            Action::WriteKubeletAccess(binding) => {
                if let Some(cluster) = &observed.cluster {
                    tracing::info!(
                        namespace,
                        cluster = cluster.name_any(),
                        "allowing API servers to reach kubelets: writing the ClusterRoleBinding {}",
                        kubelet_access::BINDING
                    );
                    let client = client(ctx, kcp, cluster).await?;
                    kubelet_access::write(&client, binding)
                        .await
                        .map_err(|source| Failure::Workload { object: describe(kcp), source })?;
                }
                done.again = true;
            }
            Action::UpdateKubeadmConfig => {
                if let (Some(cluster), Some(valid)) = (&observed.cluster, valid) {
                    let client = client(ctx, kcp, cluster).await?;
                    upgrade::kubeadm_config(&client, kcp, valid, cluster).await?;
                }
            }
            Action::UpdateKubeProxy => {
                if let Some(cluster) = &observed.cluster {
                    upgrade::kube_proxy(&client(ctx, kcp, cluster).await?, kcp).await?;
                }
            }
            Action::RollKubeProxy(change) => {
                if let Some(cluster) = &observed.cluster {
                    kube_proxy::write(&client(ctx, kcp, cluster).await?, change)
                        .await
                        .map_err(|source| Failure::Workload { object: describe(kcp), source })?;
                }
            }
            Action::UpdateCoreDns => {
                if let (Some(cluster), Some(valid)) = (&observed.cluster, valid) {
                    coredns::update(&client(ctx, kcp, cluster).await?, kcp, valid).await?;
                }
            }
            Action::NoteExpiry { config, node, port } => {
                if let Some(cluster) = &observed.cluster {
                    let client = client(ctx, kcp, cluster).await?;
                    // The others would be slow too. All of them are read again in the next
                    // reconcile.
                    if !expiry::note(ctx, cluster, &client, config, node, *port).await? {
                        break;
                    }
                }
            }
            Action::Create { join, failure_domain, replaces } => {
                let (Some(cluster), Some(valid)) = (&observed.cluster, valid) else { continue };
                let template = observed.template.found();
                let new = create::NewMachine {
                    join: *join,
                    failure_domain: failure_domain.clone(),
                    replaces: replaces.clone(),
                };
                let machine = create::create(ctx, kcp, valid, cluster, template, new).await?;
                ctx.full_namespaces.forget(&namespace);
                done.touched.insert(machine.name_any());
                done.again = true;
            }
            Action::Delete { machine } => {
                owned_machines::delete(ctx, &namespace, machine).await?;
                done.touched.insert(machine.clone());
            }
            Action::NoteRemediation(record) => {
                tracing::info!(
                    namespace,
                    machine = record.machine,
                    "replacing an unhealthy machine"
                );
                annotate(&api, kcp, Some(record.text())).await?;
                done.again = true;
            }
            Action::ForgetRemediation => {
                annotate(&api, kcp, None).await?;
                done.again = true;
            }
        }
    }
    Ok(done)
}

async fn client(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: &Cluster,
) -> Result<kube::Client, Failure> {
    let failed = |source| Failure::Workload { object: describe(kcp), source };
    crate::workload::client(ctx, cluster).await.map_err(failed)
}

async fn etcd(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    observed: &Observed,
) -> Result<Etcd, Failure> {
    let missing = || Failure::Invalid {
        object: describe(kcp),
        problem: "the etcd certificate authority does not exist".to_owned(),
    };
    let cluster = observed.cluster.as_ref().ok_or_else(missing)?;
    let client = client(ctx, kcp, cluster).await?;
    workload::etcd_of(ctx, cluster, client, observed).ok_or_else(missing)
}

fn etcd_failure(kcp: &KubeadmControlPlane) -> impl FnOnce(EtcdError) -> Failure + use<> {
    let object = describe(kcp);
    move |error| Failure::Invalid { object, problem: chain(&error) }
}

/// Writes the annotations about the replacement of a machine to the control plane.
async fn annotate(
    api: &Api<KubeadmControlPlane>,
    kcp: &KubeadmControlPlane,
    note: Option<String>,
) -> Result<(), Failure> {
    let change = json!({ "metadata": { "annotations": { REMEDIATION_IN_PROGRESS: note } } });
    let params = PatchParams {
        field_manager: Some(labels::MANAGER_KUBEADM_CONTROL_PLANE.to_owned()),
        ..PatchParams::default()
    };
    api.patch(&kcp.name_any(), &params, &Patch::Merge(change))
        .await
        .map(drop)
        .map_err(Failure::api("patch", kcp))
}

async fn patch_external(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    reference: &ContractRef,
    change: &Value,
) -> Result<(), Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let failed = |source| Failure::Contract { object: describe(kcp), source };
    let (api, _) = ctx.contracts.api(&namespace, reference).await.map_err(failed)?;
    api.patch(&reference.name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .map(drop)
        .map_err(contract::Error::request("patch", reference.to_string()))
        .map_err(failed)
}
