//! Turns what is known into status: of the control plane, and of its machines.

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
use crate::summary::Verdict;

/// Everything the status is made from.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) kcp: &'a KubeadmControlPlane,
    pub(super) seen: &'a Observed,
    pub(super) valid: Option<&'a Valid>,
    pub(super) plan: &'a Plan,
    pub(super) now: Timestamp,
}

/// Writes the conditions of machines, then the status of the control plane.
///
/// Machines that the pass has changed are left for the next one, which their change starts.
pub(super) async fn write(
    ctx: &Context,
    known: Known<'_>,
    applied: &Applied,
) -> Result<(), Failure> {
    let mut machines = Vec::new();
    for owned in &known.seen.machines {
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

/// Says that nothing is done.
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

/// Conditions of a machine with those that the control plane gives it.
pub(super) fn machine_conditions(known: Known<'_>, owned: &OwnedMachine) -> Conditions {
    let machine = &owned.machine;
    let existing = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut list = Conditions::new(existing, machine.metadata.generation, known.now);
    let verdicts =
        of_machine(machine, &known.seen.view, has_stacked_etcd(known.kcp), expects_taint(owned));
    for (kind, verdict) in verdicts.into_iter().flatten() {
        verdict.set(&mut list, kind);
    }
    if let Some(valid) = known.valid {
        let lines = differences(known.kcp, valid, owned, known.now);
        let verdict = if lines.is_empty() {
            Verdict::yes(reason::UP_TO_DATE)
        } else {
            let lines: Vec<_> = lines.iter().map(|line| format!("* {line}")).collect();
            Verdict::no(reason::NOT_UP_TO_DATE, lines.join("\n"))
        };
        verdict.set(&mut list, conditions::UP_TO_DATE);
    }
    remediation::note(owned, &known.plan.remediation, &mut list);
    list
}

/// The node is to have the taint that kubeadm gives by default; users may ask for others.
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

/// The status of the control plane. `machines` has the conditions that its machines have now.
pub(super) fn status(
    known: Known<'_>,
    machines: &[(String, Conditions)],
) -> KubeadmControlPlaneStatus {
    let Known { kcp, seen, plan, now, .. } = known;
    let old = kcp.status.clone().unwrap_or_default();
    let mut new = old.clone();
    let mut list = Conditions::new(old.conditions.as_ref(), kcp.metadata.generation, now);
    list.set(conditions::PAUSED, Status::False, reason::NOT_PAUSED, "");

    if seen.initialized {
        new.initialization =
            Some(KubeadmControlPlaneInitialization { control_plane_initialized: Some(true) });
    }
    say::initialized(seen).set(&mut list, own::INITIALIZED);
    say::certificates(seen, plan, wanted(kcp).first_missing(&seen.certificates))
        .set(&mut list, own::CERTIFICATES_AVAILABLE);
    if has_stacked_etcd(kcp) {
        say::aggregated(seen, machines, &[health::ETCD_MEMBER_HEALTHY])
            .set(&mut list, own::ETCD_CLUSTER_HEALTHY);
    }
    say::aggregated(seen, machines, &say::pods(has_stacked_etcd(kcp)))
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
    new.versions = versions(&seen.machines);
    new.version = new.versions.as_ref().and_then(|all| all.first()).map(|one| one.version.clone());
    new.selector = seen.cluster.as_ref().map(|cluster| {
        format!("{}={},{}", labels::CLUSTER_NAME, cluster.name_any(), labels::CONTROL_PLANE)
    });
    new.last_remediation = remediation::last(kcp, &seen.machines).or(old.last_remediation);
    new.conditions = Some(list.finish());
    new.observed_generation = kcp.metadata.generation;
    new
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// How many machines have which version, oldest version first.
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

/// Whether the pods of the workload cluster are worth watching.
pub(super) fn is_watched(seen: &Observed) -> bool {
    seen.initialized && !matches!(seen.view, View::NotYet)
}

/// What keeps a control plane from getting on, in words.
pub(super) fn words(on: &WaitingOn) -> String {
    match on {
        WaitingOn::Cluster => "waiting for the Cluster to become its owner".to_owned(),
        WaitingOn::Infrastructure => {
            "waiting for Cluster status.initialization.infrastructureProvisioned to be true"
                .to_owned()
        }
        WaitingOn::UserCertificate(purpose) => format!(
            "waiting for the Secret of the cluster that ends in -{}, which you supply",
            purpose.suffix()
        ),
        WaitingOn::LostCertificate(purpose) => format!(
            "the Secret of the cluster that ends in -{} is gone; restore it from a backup",
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
