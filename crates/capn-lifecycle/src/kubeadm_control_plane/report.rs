//! Computes the status of the control plane and of its machines.

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::controlplane::conditions as own;
use capi_api::controlplane::{
    KubeadmControlPlaneInitialization, KubeadmControlPlaneStatus, machine_conditions as health,
};
use capi_api::core::StatusVersion;
use capi_api::{KubeadmControlPlane, Machine, labels};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::apply::Applied;
use super::health::{View, of_machine};
use super::observe::{Observed, OwnedMachine, wanted};
use super::remediation;
use super::report_conditions as say;
use super::step::{Plan, WaitingOn};
use super::up_to_date::differences;
use super::validate::{Valid, has_stacked_etcd};
use crate::Context;
use crate::error::Failure;
use crate::objects::version;
use crate::patch;
use crate::summary::ConditionState;

/// Inputs of the status.
#[derive(Clone, Copy)]
pub(super) struct StatusInputs<'a> {
    pub(super) kcp: &'a KubeadmControlPlane,
    pub(super) observed: &'a Observed,
    pub(super) valid: Option<&'a Valid>,
    pub(super) plan: &'a Plan,
    pub(super) now: Timestamp,
}

/// Writes the conditions of machines, then the status of the control plane.
///
/// Machines that changed in this reconcile are left to the next one, which their change triggers.
pub(super) async fn write(
    ctx: &Context,
    known: StatusInputs<'_>,
    applied: &Applied,
) -> Result<(), Failure> {
    let mut machines = Vec::new();
    for owned in &known.observed.machines {
        let new = machine_conditions(known, owned);
        if !applied.touched.contains(&owned.name()) {
            write_machine(ctx, &owned.machine, &new).await?;
        }
        machines.push((owned.name(), new));
    }
    let kcp = known.kcp;
    let new = status(known, &machines);
    let api = api(ctx, kcp);
    let version = kcp.resource_version();
    patch::status(&api, &kcp.name_any(), version.as_deref(), kcp.status.as_ref(), &new)
        .await
        .map(drop)
        .map_err(Failure::api("patch the status of", kcp))
}

/// Reports that the control plane is paused.
pub(super) async fn paused(ctx: &Context, kcp: &KubeadmControlPlane) -> Result<(), Failure> {
    let old = kcp.status.clone().unwrap_or_default();
    let mut list = Conditions::new(old.conditions.as_ref(), kcp.metadata.generation, ctx.now());
    list.set(conditions::PAUSED, Status::True, reason::PAUSED, "");
    let new = KubeadmControlPlaneStatus { conditions: Some(list.finish()), ..old };
    let version = kcp.resource_version();
    patch::status(&api(ctx, kcp), &kcp.name_any(), version.as_deref(), kcp.status.as_ref(), &new)
        .await
        .map(drop)
        .map_err(Failure::api("patch the status of", kcp))
}

fn api(ctx: &Context, kcp: &KubeadmControlPlane) -> Api<KubeadmControlPlane> {
    Api::namespaced(ctx.client.clone(), &kcp.namespace().unwrap_or_default())
}

/// Returns the conditions of a machine, including those that the control plane sets.
pub(super) fn machine_conditions(known: StatusInputs<'_>, owned: &OwnedMachine) -> Conditions {
    let machine = &owned.machine;
    let existing = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut list = Conditions::new(existing, machine.metadata.generation, known.now);
    let verdicts = of_machine(
        machine,
        &known.observed.view,
        has_stacked_etcd(known.kcp),
        expects_taint(owned),
    );
    for (kind, state) in verdicts.into_iter().flatten() {
        state.set(&mut list, kind);
    }
    if let Some(valid) = known.valid {
        let lines = differences(known.kcp, valid, owned, known.now);
        let state = if lines.is_empty() {
            ConditionState::yes(reason::UP_TO_DATE)
        } else {
            let lines: Vec<_> = lines.iter().map(|line| format!("* {line}")).collect();
            ConditionState::no(reason::NOT_UP_TO_DATE, lines.join("\n"))
        };
        state.set(&mut list, conditions::UP_TO_DATE);
    }
    remediation::note(owned, &known.plan.remediation, &mut list);
    list
}

/// Returns whether the node should have kubeadm's default taint. Users may configure other taints.
fn expects_taint(owned: &OwnedMachine) -> bool {
    let Some(config) = &owned.config else { return true };
    let init = config.spec.init_configuration.as_ref();
    let join = config.spec.join_configuration.as_ref();
    let options = init
        .and_then(|init| init.node_registration.as_ref())
        .or_else(|| join.and_then(|join| join.node_registration.as_ref()));
    let taints = options.and_then(|options| options.taints.as_ref());
    taints.is_none_or(|taints| {
        let key = "node-role.kubernetes.io/control-plane";
        taints.iter().any(|taint| taint.key == key && taint.effect == "NoSchedule")
    })
}

async fn write_machine(ctx: &Context, machine: &Machine, new: &Conditions) -> Result<(), Failure> {
    let old = machine.status.clone().unwrap_or_default();
    let mut status = old.clone();
    status.conditions = Some(new.clone().finish());
    let api: Api<Machine> =
        Api::namespaced(ctx.client.clone(), &machine.namespace().unwrap_or_default());
    let version = machine.resource_version();
    patch::status(&api, &machine.name_any(), version.as_deref(), Some(&old), &status)
        .await
        .map(drop)
        .map_err(Failure::api("patch the status of", machine))
}

/// Returns the status of the control plane. `machines` contains the current conditions of its
/// machines.
pub(super) fn status(
    known: StatusInputs<'_>,
    machines: &[(String, Conditions)],
) -> KubeadmControlPlaneStatus {
    let StatusInputs { kcp, observed, plan, now, .. } = known;
    let old = kcp.status.clone().unwrap_or_default();
    let mut new = old.clone();
    let mut list = Conditions::new(old.conditions.as_ref(), kcp.metadata.generation, now);
    list.set(conditions::PAUSED, Status::False, reason::NOT_PAUSED, "");

    if observed.initialized {
        new.initialization =
            Some(KubeadmControlPlaneInitialization { control_plane_initialized: Some(true) });
    }
    say::initialized(observed).set(&mut list, own::INITIALIZED);
    say::certificates(observed, plan, wanted(kcp).first_missing(&observed.certificates))
        .set(&mut list, own::CERTIFICATES_AVAILABLE);
    if has_stacked_etcd(kcp) {
        say::aggregated(observed, machines, &[health::ETCD_MEMBER_HEALTHY])
            .set(&mut list, own::ETCD_CLUSTER_HEALTHY);
    }
    say::aggregated(observed, machines, &say::pods(has_stacked_etcd(kcp)))
        .set(&mut list, own::COMPONENTS_HEALTHY);
    say::machines_ready(machines).set(&mut list, conditions::MACHINES_READY);
    say::machines_up_to_date(machines).set(&mut list, conditions::MACHINES_UP_TO_DATE);
    say::rolling_out(known, machines).set(&mut list, conditions::ROLLING_OUT);
    say::scaling_up(known).set(&mut list, conditions::SCALING_UP);
    say::scaling_down(known).set(&mut list, conditions::SCALING_DOWN);
    say::remediating(machines).set(&mut list, conditions::REMEDIATING);
    say::deleting(known).set(&mut list, conditions::DELETING);
    let certificates = list.is_true(own::CERTIFICATES_AVAILABLE);
    say::available(known, machines, certificates).set(&mut list, conditions::AVAILABLE);

    let count = |kind: &str| count(machines.iter().filter(|(_, list)| list.is_true(kind)).count());
    new.replicas = Some(self::count(machines.len()));
    new.ready_replicas = Some(count(conditions::READY));
    new.available_replicas = Some(count(conditions::AVAILABLE));
    new.up_to_date_replicas = Some(count(conditions::UP_TO_DATE));
    new.versions = versions(&observed.machines);
    new.version = new.versions.as_ref().and_then(|all| all.first()).map(|one| one.version.clone());
    new.selector = observed.cluster.as_ref().map(|cluster| {
        format!("{}={},{}", labels::CLUSTER_NAME, cluster.name_any(), labels::CONTROL_PLANE)
    });
    new.last_remediation = remediation::last(kcp, &observed.machines).or(old.last_remediation);
    new.conditions = Some(list.finish());
    new.observed_generation = kcp.metadata.generation;
    new
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Returns the number of machines per version, oldest version first.
fn versions(machines: &[OwnedMachine]) -> Option<Vec<StatusVersion>> {
    let mut all: Vec<StatusVersion> = Vec::new();
    for text in machines.iter().filter_map(|owned| owned.machine.spec.version.as_ref()) {
        match all.iter_mut().find(|one| one.version == *text) {
            Some(one) => one.replicas = one.replicas.map(|replicas| replicas.saturating_add(1)),
            None => all.push(StatusVersion { version: text.clone(), replicas: Some(1) }),
        }
    }
    all.sort_by_key(|one| version(&one.version));
    (!all.is_empty()).then_some(all)
}

/// Returns whether the pods of the workload cluster should be watched.
pub(super) fn is_watched(observed: &Observed) -> bool {
    observed.initialized && !matches!(observed.view, View::NotYet)
}

/// Describes what the control plane waits for.
pub(super) fn describe_wait(on: &WaitingOn) -> String {
    match on {
        WaitingOn::Cluster => "waiting for the Cluster to become its owner".to_owned(),
        WaitingOn::Infrastructure => {
            "waiting for Cluster status.initialization.infrastructureProvisioned to be true"
                .to_owned()
        }
        WaitingOn::UserCertificate(purpose) => format!(
            "waiting for the cluster's Secret with the suffix -{}, which you must create",
            purpose.suffix()
        ),
        WaitingOn::LostCertificate(purpose) => format!(
            "the cluster's Secret with the suffix -{} no longer exists; restore it from a backup",
            purpose.suffix()
        ),
        WaitingOn::Endpoint => "waiting for Cluster spec.controlPlaneEndpoint to be set".to_owned(),
        WaitingOn::Template => "the infrastructure template does not exist".to_owned(),
        WaitingOn::Initialization => {
            "waiting for kubeadm to initialize the control plane".to_owned()
        }
        WaitingOn::Preflight(lines) => lines.join("\n* "),
        WaitingOn::Workers(names) => {
            format!("waiting for the worker Machines {}", names.join(", "))
        }
        WaitingOn::Machines(names) => format!("waiting for the Machines {}", names.join(", ")),
        WaitingOn::User(problem) => problem.clone(),
    }
}
