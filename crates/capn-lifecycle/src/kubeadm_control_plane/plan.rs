//! Decides what to do about a control plane. Pure: no I/O, no clock, no randomness.

use std::time::Duration;

use capi_api::conditions;
use capi_api::controlplane::{PRE_TERMINATE_HOOK, SKIP_CORE_DNS, SKIP_KUBE_PROXY};
use capi_api::{Cluster, KubeadmControlPlane, labels, refs};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};

use super::desired::in_place_change;
use super::health::View;
use super::kubelet_access::Access;
use super::observe::{Observed, OwnedMachine, wanted};
use super::remediation::Creation;
use super::removal::{may_delete, plan_removal};
use super::step::{Action, Plan, WaitingOn};
use super::up_to_date::differences;
use super::validate::{Problem, Valid};
use super::{expiry, kube_proxy, members, preflight, remediation, selection};
use crate::kubeconfig::{self, KubeconfigAction};
use crate::objects::{self, annotation, has_finalizer, is_deleting, plain_owner};
use crate::pki::Purpose;

/// Interval for state that may change without an event.
const RECHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Decides what to do.
pub(super) fn plan(
    kcp: &KubeadmControlPlane,
    observed: &Observed,
    valid: Result<&Valid, &Problem>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    if is_deleting(kcp.meta()) {
        return delete(kcp, observed);
    }
    let Some(cluster) = &observed.cluster else { return plan.wait(WaitingOn::Cluster) };
    if !has_finalizer(kcp.meta(), labels::KUBEADM_CONTROL_PLANE_FINALIZER) {
        return plan.act(Action::AddFinalizer);
    }
    if let Some(owners) = template_owners(cluster, observed) {
        plan = plan.act(Action::OwnTemplate(owners));
    }
    // They have no dependencies, so they are created in parallel with the infrastructure.
    let certificates = certificates(kcp, observed);
    if let Ok(absent) = &certificates
        && !absent.is_empty()
    {
        return plan.act(Action::MakeCertificates(absent.clone()));
    }
    if !cluster.infrastructure_provisioned() {
        let early = annotation(kcp.meta(), labels::BEFORE_INFRASTRUCTURE) == Some("true");
        let is_new =
            observed.machines.is_empty() && observed.orphans.is_empty() && !observed.initialized;
        if early && is_new && valid.is_ok() && observed.template.found().is_some() {
            let first = Action::Create { join: false, failure_domain: None, replaces: None };
            return plan.act(first);
        }
        return plan.wait(WaitingOn::Infrastructure);
    }
    if let Err(on) = certificates {
        return plan.wait(on);
    }
    if cluster.endpoint().is_none() {
        return plan.wait(WaitingOn::Endpoint);
    }
    match kubeconfig::need(observed.kubeconfig.as_ref(), now) {
        // The first machine does not need it, so this does not stop the plan.
        KubeconfigAction::Create | KubeconfigAction::Renew => {
            plan = plan.act(Action::WriteKubeconfig);
        }
        KubeconfigAction::Nothing { renew_at } => plan.recheck = renew_at.map(|at| until(at, now)),
    }
    for owned in observed.machines.iter().filter(|owned| !owned.is_deleting()) {
        if let Some(change) = in_place_change(kcp, &cluster.name_any(), &owned.machine) {
            plan = plan.act(Action::Sync { machine: owned.name(), change });
        }
    }
    // Without it etcd cannot be queried, so no further decision is possible.
    if let Some(binding) = kubelet_access(observed).and_then(Access::wanted) {
        return plan.act(Action::WriteKubeletAccess(Box::new(binding)));
    }
    plan = follow_kube_proxy(kcp, observed, plan);
    if let Some(leaving) = observed.machines.iter().find(|owned| may_delete(&owned.machine)) {
        match plan_removal(kcp, observed, leaving) {
            Ok(actions) => plan.actions.extend(actions),
            Err(problem) => {
                plan.recheck = Some(RECHECK_INTERVAL);
                return plan.wait(WaitingOn::Preflight(vec![problem]));
            }
        }
    } else if let Some(action) = members::remove_orphaned(observed) {
        return plan.act(action);
    }
    if !observed.orphans.is_empty() {
        return plan.act(Action::DeleteOrphans(observed.orphans.clone()));
    }
    match valid {
        Ok(valid) => {
            let decision = remediation::decide(kcp, observed, valid, now);
            plan.remediation = decision.said;
            plan.recheck = [plan.recheck, decision.recheck].into_iter().flatten().min();
            if !decision.actions.is_empty() {
                plan.actions.extend(decision.actions);
                return plan;
            }
            scale(kcp, cluster, observed, valid, plan, &decision.creation, now)
        }
        Err(problem) => plan.wait(WaitingOn::User(problem.to_string())),
    }
}

/// Adjusts kube-proxy to clusters whose nodes only have the image of their own version.
fn follow_kube_proxy(kcp: &KubeadmControlPlane, observed: &Observed, mut plan: Plan) -> Plan {
    let View::Reachable(components) = &observed.view else { return plan };
    let wanted = objects::version(&kcp.spec.version);
    let version =
        |owned: &OwnedMachine| owned.machine.spec.version.as_deref().and_then(objects::version);
    let is_older_left = observed.is_other_older
        || observed.machines.iter().filter_map(version).any(|version| Some(version) < wanted);
    let kube_proxy = &components.kube_proxy;
    if kube_proxy.is_held() {
        let recheck = kube_proxy::RECHECK;
        plan.recheck = Some(plan.recheck.map_or(recheck, |already| already.min(recheck)));
    }
    match kube_proxy::change(kube_proxy, &components.nodes, &kcp.spec.version, is_older_left) {
        Some(change) => plan.act(Action::RollKubeProxy(change)),
        None => plan,
    }
}

/// Adds and removes machines one at a time, once the control plane is initialized.
fn scale(
    kcp: &KubeadmControlPlane,
    cluster: &Cluster,
    observed: &Observed,
    valid: &Valid,
    mut plan: Plan,
    creation: &Creation,
    now: Timestamp,
) -> Plan {
    let create = |plan: Plan, join| {
        let replaces = match creation {
            Creation::Free => None,
            Creation::Replaces(record) => Some(record.clone()),
            Creation::After(name) => return plan.wait(WaitingOn::Machines(vec![name.clone()])),
        };
        if observed.template.found().is_none() {
            return plan.wait(WaitingOn::Template);
        }
        let failure_domain = preflight::failure_domain(cluster, &observed.machines);
        plan.act(Action::Create { join, failure_domain, replaces })
    };
    if observed.machines.is_empty() {
        if observed.initialized {
            return plan.wait(WaitingOn::User(
                "All control plane Machines are gone, and with them the data of the cluster; \
                 restore a snapshot (`capn etcd snapshot restore`), or delete the Cluster"
                    .to_owned(),
            ));
        }
        return create(plan, false);
    }
    if !observed.initialized {
        if !observed.machines.iter().any(initializes) {
            return create(plan, false);
        }
        // Machines that will join are created now, so that their instances can be created. They
        // wait for their bootstrap data and then join at once: kubeadm adds etcd members one at a
        // time.
        if observed.machines.len() < valid.replicas && observed.template.found().is_some() {
            return create(plan, true);
        }
        let pause = probe_pause(observed, now);
        let recheck = Some(plan.recheck.map_or(pause, |recheck| recheck.min(pause)));
        return Plan { recheck, ..plan }.wait(WaitingOn::Initialization);
    }
    let is_outdated = |owned: &OwnedMachine| !differences(kcp, valid, owned, now).is_empty();
    let staying = || observed.machines.iter().filter(|owned| !owned.is_deleting());
    let is_rolling_out = staying().any(is_outdated);
    let have = observed.machines.len();
    let most = valid.replicas.saturating_add(if is_rolling_out { valid.max_surge } else { 0 });
    if have < most && (have < valid.replicas || is_rolling_out) {
        let mut problems = preflight::problems(&observed.machines, valid.etcd_is_stacked);
        problems.extend(kubelet_access(observed).and_then(Access::problem));
        if !problems.is_empty() {
            return plan.wait(WaitingOn::Preflight(problems));
        }
        let plan = if is_rolling_out { plan.act(Action::UpdateKubeadmConfig) } else { plan };
        return create(plan, true);
    }
    if matches!(creation, Creation::Replaces(_)) && staying().count() == have {
        // There are enough machines.
        return plan.act(Action::ForgetRemediation);
    }
    if have > valid.replicas || is_rolling_out {
        let Some(selection) = selection::choose(&observed.machines, is_outdated) else {
            return plan.wait(WaitingOn::Machines(names(observed.machines.iter())));
        };
        let problems = preflight::problems_without(
            &observed.machines,
            &selection.name(),
            valid.etcd_is_stacked,
        );
        if !problems.is_empty() {
            return plan.wait(WaitingOn::Preflight(problems));
        }
        // Also if an upgrade is reverted: the next worker joins with this configuration.
        let plan = if is_rolling_out { plan.act(Action::UpdateKubeadmConfig) } else { plan };
        return plan.act(Action::Delete { machine: selection.name() });
    }
    if was_rolling_out(kcp) {
        for (skip, action) in
            [(SKIP_KUBE_PROXY, Action::UpdateKubeProxy), (SKIP_CORE_DNS, Action::UpdateCoreDns)]
        {
            if annotation(kcp.meta(), skip).is_none() {
                plan = plan.act(action);
            }
        }
    }
    // It can take seconds and nothing depends on it, so it does not run together with other
    // actions.
    if plan.actions.is_empty() {
        plan.actions = expiry::unknown(observed);
    }
    plan
}

/// Returns whether a machine initializes the control plane, or may do so because nothing says that
/// it joins.
pub(super) fn initializes(owned: &OwnedMachine) -> bool {
    owned.config.as_ref().is_none_or(|config| config.spec.join_configuration.is_none())
}

/// Returns whether API servers may reach kubelets, if the workload cluster responded.
fn kubelet_access(observed: &Observed) -> Option<&Access> {
    match &observed.view {
        View::Reachable(components) => Some(&components.kubelets),
        View::NotYet | View::Silent | View::Down { .. } => None,
    }
}

/// Returns whether the status still reports a rollout: this is the first pass after its end.
fn was_rolling_out(kcp: &KubeadmControlPlane) -> bool {
    let status = kcp.status.as_ref();
    let list = status.and_then(|status| status.conditions.as_ref());
    conditions::is_true(list, conditions::ROLLING_OUT)
}

/// Deletes the workers first, then all control plane machines at once: etcd is deleted with the
/// cluster.
fn delete(kcp: &KubeadmControlPlane, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    if !has_finalizer(kcp.meta(), labels::KUBEADM_CONTROL_PLANE_FINALIZER) {
        return plan;
    }
    if !observed.others.is_empty() {
        return plan.wait(WaitingOn::Workers(observed.others.clone()));
    }
    if observed.machines.is_empty() {
        return if observed.orphans.is_empty() {
            plan.act(Action::RemoveFinalizer)
        } else {
            plan.act(Action::DeleteOrphans(observed.orphans.clone()))
        };
    }
    for owned in &observed.machines {
        if annotation(owned.machine.meta(), PRE_TERMINATE_HOOK).is_some() {
            plan = plan.act(Action::DropHook { machine: owned.name() });
        }
        if !owned.is_deleting() {
            plan = plan.act(Action::Delete { machine: owned.name() });
        }
    }
    plan.wait(WaitingOn::Machines(names(observed.machines.iter())))
}

/// Returns the certificates to create, or what to wait for.
fn certificates(kcp: &KubeadmControlPlane, observed: &Observed) -> Result<Vec<Purpose>, WaitingOn> {
    let wanted = wanted(kcp);
    let absent: Vec<_> = wanted
        .purposes()
        .into_iter()
        .filter(|purpose| !observed.certificates.contains_key(purpose))
        .collect();
    if let Some(purpose) = absent.iter().find(|purpose| !wanted.is_generated(**purpose)) {
        return Err(WaitingOn::UserCertificate(*purpose));
    }
    if let Some(purpose) = absent.first().filter(|_| observed.initialized) {
        return Err(WaitingOn::LostCertificate(*purpose));
    }
    if let Some(purpose) =
        wanted.first_missing(&observed.certificates).filter(|_| absent.is_empty())
    {
        // It exists without its key: the user provided it.
        return Err(WaitingOn::UserCertificate(purpose));
    }
    Ok(absent)
}

/// Returns the new owners of the infrastructure template, if the cluster is not one of them.
fn template_owners(cluster: &Cluster, observed: &Observed) -> Option<Vec<OwnerReference>> {
    let template = observed.template.found()?;
    let owner = plain_owner(cluster)?;
    let has = template.metadata.owner_references.iter().flatten().any(|o| o.uid == owner.uid);
    if has {
        return None;
    }
    refs::with_owner(
        template.metadata.owner_references.as_ref(),
        OwnerReference { controller: None, ..owner },
    )
}

/// Returns the probe interval. No event announces the API server, so it is probed twice a second
/// while that is likely to succeed, then less often.
fn probe_pause(observed: &Observed, now: Timestamp) -> Duration {
    let newest = observed.machines.iter().filter_map(|owned| owned.machine.creation_timestamp());
    let age = newest.map(|made| now.duration_since(made.0)).min();
    match age {
        Some(age) if age < SignedDuration::from_mins(3) => Duration::from_millis(500),
        Some(age) if age < SignedDuration::from_mins(10) => Duration::from_secs(2),
        _ => Duration::from_secs(5),
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

fn names<'a>(machines: impl Iterator<Item = &'a OwnedMachine>) -> Vec<String> {
    machines.map(OwnedMachine::name).collect()
}
