//! What to do about a control plane. Pure: no I/O, no clock, no randomness.

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
use super::leave::{leave, may_go};
use super::observe::{Observed, OwnedMachine, wanted};
use super::remediation::Creation;
use super::step::{Action, Plan, WaitingOn};
use super::up_to_date::differences;
use super::validate::{Problem, Valid};
use super::{expiry, kube_proxy, members, preflight, remediation, victim};
use crate::kubeconfig::{self, Need};
use crate::objects::{self, annotation, has_finalizer, is_deleting, plain_owner};
use crate::pki::Purpose;

/// How soon to look again at what may pass without an event.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Decides.
pub(super) fn plan(
    kcp: &KubeadmControlPlane,
    seen: &Observed,
    valid: Result<&Valid, &Problem>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    if is_deleting(kcp.meta()) {
        return delete(kcp, seen);
    }
    let Some(cluster) = &seen.cluster else { return plan.wait(WaitingOn::Cluster) };
    if !has_finalizer(kcp.meta(), labels::KUBEADM_CONTROL_PLANE_FINALIZER) {
        return plan.act(Action::AddFinalizer);
    }
    if let Some(owners) = template_owners(cluster, seen) {
        plan = plan.act(Action::OwnTemplate(owners));
    }
    // They depend on nothing, so they are made while the infrastructure is.
    let certificates = certificates(kcp, seen);
    if let Ok(absent) = &certificates
        && !absent.is_empty()
    {
        return plan.act(Action::MakeCertificates(absent.clone()));
    }
    if !cluster.infrastructure_provisioned() {
        let early = annotation(kcp.meta(), labels::BEFORE_INFRASTRUCTURE) == Some("true");
        let is_new = seen.machines.is_empty() && seen.orphans.is_empty() && !seen.initialized;
        if early && is_new && valid.is_ok() && seen.template.found().is_some() {
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
    match kubeconfig::need(seen.kubeconfig.as_ref(), now) {
        // The first machine needs none, so this is no reason to stop here.
        Need::Create | Need::Renew => plan = plan.act(Action::WriteKubeconfig),
        Need::Nothing { renew_at } => plan.recheck = renew_at.map(|at| until(at, now)),
    }
    for owned in seen.machines.iter().filter(|owned| !owned.is_deleting()) {
        if let Some(change) = in_place_change(kcp, &cluster.name_any(), &owned.machine) {
            plan = plan.act(Action::Sync { machine: owned.name(), change });
        }
    }
    // Without it etcd cannot be asked, so nothing that follows could be decided.
    if let Some(binding) = kubelet_access(seen).and_then(Access::wanted) {
        return plan.act(Action::WriteKubeletAccess(Box::new(binding)));
    }
    plan = follow_kube_proxy(kcp, seen, plan);
    if let Some(leaving) = seen.machines.iter().find(|owned| may_go(&owned.machine)) {
        match leave(kcp, seen, leaving) {
            Ok(actions) => plan.actions.extend(actions),
            Err(problem) => {
                plan.recheck = Some(LOOK_AGAIN);
                return plan.wait(WaitingOn::Preflight(vec![problem]));
            }
        }
    } else if let Some(action) = members::stray(seen) {
        return plan.act(action);
    }
    if !seen.orphans.is_empty() {
        return plan.act(Action::DeleteOrphans(seen.orphans.clone()));
    }
    match valid {
        Ok(valid) => {
            let decision = remediation::decide(kcp, seen, valid, now);
            plan.remediation = decision.said;
            plan.recheck = [plan.recheck, decision.recheck].into_iter().flatten().min();
            if !decision.actions.is_empty() {
                plan.actions.extend(decision.actions);
                return plan;
            }
            scale(kcp, cluster, seen, valid, plan, &decision.creation, now)
        }
        Err(problem) => plan.wait(WaitingOn::User(problem.to_string())),
    }
}

/// kube-proxy follows the nodes where each has the image of its own version only.
fn follow_kube_proxy(kcp: &KubeadmControlPlane, seen: &Observed, mut plan: Plan) -> Plan {
    let View::Seen(components) = &seen.view else { return plan };
    let wanted = objects::version(&kcp.spec.version);
    let version =
        |owned: &OwnedMachine| owned.machine.spec.version.as_deref().and_then(objects::version);
    let is_older_left = seen.is_other_older
        || seen.machines.iter().filter_map(version).any(|version| Some(version) < wanted);
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

/// Machines are added and taken away one at a time, once the control plane is initialized.
fn scale(
    kcp: &KubeadmControlPlane,
    cluster: &Cluster,
    seen: &Observed,
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
        if seen.template.found().is_none() {
            return plan.wait(WaitingOn::Template);
        }
        let failure_domain = preflight::failure_domain(cluster, &seen.machines);
        plan.act(Action::Create { join, failure_domain, replaces })
    };
    if seen.machines.is_empty() {
        if seen.initialized {
            return plan.wait(WaitingOn::User(
                "All control plane Machines are gone, and with them the data of the cluster; \
                 delete the Cluster"
                    .to_owned(),
            ));
        }
        return create(plan, false);
    }
    if !seen.initialized {
        if !seen.machines.iter().any(initializes) {
            return create(plan, false);
        }
        // Those that will join are made now, so that their instances can be; they wait for their boot
        // data, and then join at once: kubeadm adds one etcd member after the other.
        if seen.machines.len() < valid.replicas && seen.template.found().is_some() {
            return create(plan, true);
        }
        let pause = probe_pause(seen, now);
        let recheck = Some(plan.recheck.map_or(pause, |recheck| recheck.min(pause)));
        return Plan { recheck, ..plan }.wait(WaitingOn::Initialization);
    }
    let is_outdated = |owned: &OwnedMachine| !differences(kcp, valid, owned, now).is_empty();
    let staying = || seen.machines.iter().filter(|owned| !owned.is_deleting());
    let is_rolling_out = staying().any(is_outdated);
    let have = seen.machines.len();
    let most = valid.replicas.saturating_add(if is_rolling_out { valid.max_surge } else { 0 });
    if have < most && (have < valid.replicas || is_rolling_out) {
        let mut problems = preflight::problems(&seen.machines, valid.etcd_is_stacked);
        problems.extend(kubelet_access(seen).and_then(Access::problem));
        if !problems.is_empty() {
            return plan.wait(WaitingOn::Preflight(problems));
        }
        let plan = if is_rolling_out { plan.act(Action::UpdateKubeadmConfig) } else { plan };
        return create(plan, true);
    }
    if matches!(creation, Creation::Replaces(_)) && staying().count() == have {
        // There are enough machines as it is.
        return plan.act(Action::ForgetRemediation);
    }
    if have > valid.replicas || is_rolling_out {
        let Some(victim) = victim::choose(&seen.machines, is_outdated) else {
            return plan.wait(WaitingOn::Machines(names(seen.machines.iter())));
        };
        let problems =
            preflight::problems_without(&seen.machines, &victim.name(), valid.etcd_is_stacked);
        if !problems.is_empty() {
            return plan.wait(WaitingOn::Preflight(problems));
        }
        // Also when an upgrade is taken back: the next worker joins with what the document says.
        let plan = if is_rolling_out { plan.act(Action::UpdateKubeadmConfig) } else { plan };
        return plan.act(Action::Delete { machine: victim.name() });
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
    // Not beside anything else: it can take seconds, and nothing waits for it.
    if plan.actions.is_empty() {
        plan.actions = expiry::unknown(seen);
    }
    plan
}

/// Whether a machine initializes the control plane, or may, since nothing says that it joins.
pub(super) fn initializes(owned: &OwnedMachine) -> bool {
    owned.config.as_ref().is_none_or(|config| config.spec.join_configuration.is_none())
}

/// Whether API servers may reach kubelets, if the workload cluster could be asked.
fn kubelet_access(seen: &Observed) -> Option<&Access> {
    match &seen.view {
        View::Seen(components) => Some(&components.kubelets),
        View::NotYet | View::Silent | View::Down { .. } => None,
    }
}

/// The status still says that machines are replaced: it is the first pass after the last one was.
fn was_rolling_out(kcp: &KubeadmControlPlane) -> bool {
    let status = kcp.status.as_ref();
    let list = status.and_then(|status| status.conditions.as_ref());
    conditions::is_true(list, conditions::ROLLING_OUT)
}

/// Workers first, then all machines of the control plane at once: with the cluster its etcd goes.
fn delete(kcp: &KubeadmControlPlane, seen: &Observed) -> Plan {
    let mut plan = Plan::default();
    if !has_finalizer(kcp.meta(), labels::KUBEADM_CONTROL_PLANE_FINALIZER) {
        return plan;
    }
    if !seen.others.is_empty() {
        return plan.wait(WaitingOn::Workers(seen.others.clone()));
    }
    if seen.machines.is_empty() {
        return if seen.orphans.is_empty() {
            plan.act(Action::RemoveFinalizer)
        } else {
            plan.act(Action::DeleteOrphans(seen.orphans.clone()))
        };
    }
    for owned in &seen.machines {
        if annotation(owned.machine.meta(), PRE_TERMINATE_HOOK).is_some() {
            plan = plan.act(Action::DropHook { machine: owned.name() });
        }
        if !owned.is_deleting() {
            plan = plan.act(Action::Delete { machine: owned.name() });
        }
    }
    plan.wait(WaitingOn::Machines(names(seen.machines.iter())))
}

/// Certificates that are to be made, or what to wait for.
fn certificates(kcp: &KubeadmControlPlane, seen: &Observed) -> Result<Vec<Purpose>, WaitingOn> {
    let wanted = wanted(kcp);
    let absent: Vec<_> = wanted
        .purposes()
        .into_iter()
        .filter(|purpose| !seen.certificates.contains_key(purpose))
        .collect();
    if let Some(purpose) = absent.iter().find(|purpose| !wanted.is_generated(**purpose)) {
        return Err(WaitingOn::UserCertificate(*purpose));
    }
    if let Some(purpose) = absent.first().filter(|_| seen.initialized) {
        return Err(WaitingOn::LostCertificate(*purpose));
    }
    if let Some(purpose) = wanted.first_missing(&seen.certificates).filter(|_| absent.is_empty()) {
        // There, but without its key: a user's.
        return Err(WaitingOn::UserCertificate(purpose));
    }
    Ok(absent)
}

/// Owners of the infrastructure template with the cluster among them, if it lacks it.
fn template_owners(cluster: &Cluster, seen: &Observed) -> Option<Vec<OwnerReference>> {
    let template = seen.template.found()?;
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

/// Nothing tells us when the API server comes up, so it is asked: twice a second while that is
/// likely, then more seldom.
fn probe_pause(seen: &Observed, now: Timestamp) -> Duration {
    let newest = seen.machines.iter().filter_map(|owned| owned.machine.creation_timestamp());
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
