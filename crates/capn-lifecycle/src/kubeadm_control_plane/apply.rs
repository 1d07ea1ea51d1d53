//! Carries out what was decided about a control plane. The only writer besides `report`.

use std::collections::BTreeSet;

use capi_api::controlplane::{PRE_TERMINATE_HOOK, REMEDIATION_IN_PROGRESS};
use capi_api::core::ContractRef;
use capi_api::{Cluster, KubeadmControlPlane, Machine, labels};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::observe::Observed;
use super::step::{Action, Plan};
use super::validate::Valid;
use super::{certificates, coredns, create, expiry, kube_proxy, kubelet_access, upgrade, workload};
use crate::Context;
use crate::contract;
use crate::error::{Failure, chain, describe, is_not_found};
use crate::patch;
use crate::workload::etcd::{Error as EtcdError, Etcd};

/// What a plan has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Applied {
    /// The next pass starts at once, by the event of what was written: there is nothing to report.
    pub(super) again: bool,
    /// Machines that are not any more as they were read.
    pub(super) touched: BTreeSet<String>,
}

/// Carries out a plan.
///
/// # Guarantees
///
/// Every action can be repeated; an interrupted plan is made again from what is then observed.
pub(super) async fn apply(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    seen: &Observed,
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
                if let Some(cluster) = &seen.cluster {
                    certificates::make(ctx, kcp, cluster, purposes).await?;
                }
                done.again = true;
            }
            Action::WriteKubeconfig => certificates::write_kubeconfig(ctx, kcp, seen).await?,
            Action::Sync { machine, change } => {
                patch_machine(ctx, kcp, machine, change).await?;
                done.touched.insert(machine.clone());
            }
            Action::DeleteOrphans(orphans) => {
                for orphan in orphans {
                    tracing::info!(%orphan, "delete what an interrupted pass left behind");
                    ctx.contracts
                        .delete(&namespace, orphan)
                        .await
                        .map_err(|source| Failure::Contract { object: describe(kcp), source })?;
                }
                done.again = true;
            }
            Action::DropHook { machine } => {
                let change = json!({ "metadata": { "annotations": { PRE_TERMINATE_HOOK: null } } });
                patch_machine(ctx, kcp, machine, &change).await?;
                done.touched.insert(machine.clone());
            }
            Action::TransferLeadership { from, to } => {
                tracing::info!(%to, "hand over the leadership of etcd");
                let etcd = etcd(ctx, kcp, seen).await?;
                etcd.transfer_leadership(from, *to).await.map_err(etcd_failure(kcp))?;
                done.again = true;
            }
            Action::RemoveMember { via, member } => {
                tracing::info!(%member, "remove a member from etcd");
                let etcd = etcd(ctx, kcp, seen).await?;
                etcd.remove(via, *member).await.map_err(etcd_failure(kcp))?;
            }
            Action::WriteKubeletAccess(binding) => {
                if let Some(cluster) = &seen.cluster {
                    tracing::info!(
                        namespace,
                        cluster = cluster.name_any(),
                        "let API servers reach kubelets: write the ClusterRoleBinding {}",
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
                if let (Some(cluster), Some(valid)) = (&seen.cluster, valid) {
                    let client = client(ctx, kcp, cluster).await?;
                    upgrade::kubeadm_config(&client, kcp, valid, cluster).await?;
                }
            }
            Action::UpdateKubeProxy => {
                if let Some(cluster) = &seen.cluster {
                    upgrade::kube_proxy(&client(ctx, kcp, cluster).await?, kcp).await?;
                }
            }
            Action::RollKubeProxy(change) => {
                if let Some(cluster) = &seen.cluster {
                    kube_proxy::write(&client(ctx, kcp, cluster).await?, change)
                        .await
                        .map_err(|source| Failure::Workload { object: describe(kcp), source })?;
                }
            }
            Action::UpdateCoreDns => {
                if let (Some(cluster), Some(valid)) = (&seen.cluster, valid) {
                    coredns::update(&client(ctx, kcp, cluster).await?, kcp, valid).await?;
                }
            }
            Action::NoteExpiry { config, node, port } => {
                if let Some(cluster) = &seen.cluster {
                    let client = client(ctx, kcp, cluster).await?;
                    // The others would be as slow; all are asked again with the next pass.
                    if !expiry::note(ctx, cluster, &client, config, node, *port).await? {
                        break;
                    }
                }
            }
            Action::Create { join, failure_domain, replaces } => {
                let (Some(cluster), Some(valid)) = (&seen.cluster, valid) else { continue };
                let template = seen.template.found();
                let new = create::New {
                    join: *join,
                    failure_domain: failure_domain.clone(),
                    replaces: replaces.clone(),
                };
                let machine = create::create(ctx, kcp, valid, cluster, template, new).await?;
                ctx.full.forget(&namespace);
                done.touched.insert(machine.name_any());
                done.again = true;
            }
            Action::Delete { machine } => {
                delete_machine(ctx, kcp, machine).await?;
                done.touched.insert(machine.clone());
            }
            Action::NoteRemediation(record) => {
                tracing::info!(namespace, machine = record.machine, "replace an unhealthy machine");
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

async fn etcd(ctx: &Context, kcp: &KubeadmControlPlane, seen: &Observed) -> Result<Etcd, Failure> {
    let missing = || Failure::Invalid {
        object: describe(kcp),
        problem: "the authority of etcd is not there".to_owned(),
    };
    let cluster = seen.cluster.as_ref().ok_or_else(missing)?;
    let client = client(ctx, kcp, cluster).await?;
    workload::etcd_of(ctx, cluster, client, seen).ok_or_else(missing)
}

fn etcd_failure(kcp: &KubeadmControlPlane) -> impl FnOnce(EtcdError) -> Failure + use<> {
    let object = describe(kcp);
    move |error| Failure::Invalid { object, problem: chain(&error) }
}

/// Writes what the control plane notes of the replacement of a machine.
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

async fn patch_machine(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    name: &str,
    change: &Value,
) -> Result<(), Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let params = PatchParams {
        field_manager: Some(labels::MANAGER_KUBEADM_CONTROL_PLANE.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(name, &params, &Patch::Merge(change)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Failure::api_named("patch", "Machine", &namespace, name)(error)),
    }
}

async fn delete_machine(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    name: &str,
) -> Result<(), Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    tracing::info!(namespace, control_plane = kcp.name_any(), machine = name, "delete");
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Failure::api_named("delete", "Machine", &namespace, name)(error)),
    }
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
