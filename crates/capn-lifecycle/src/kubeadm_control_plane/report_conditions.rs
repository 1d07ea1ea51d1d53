//! The conditions of a control plane. Pure.

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::controlplane::machine_conditions as health;
use kube::Resource as _;

use super::health::View;
use super::observe::Observed;
use super::report::{StatusInputs, describe_wait};
use super::step::{Plan, WaitingOn};
use super::validate::has_stacked_etcd;
use crate::objects::is_deleting;
use crate::pki::Purpose;
use crate::summary::{ConditionState, Reasons, aggregate};

type Machines = [(String, Conditions)];

/// `Initialized`.
pub(super) fn initialized(observed: &Observed) -> ConditionState {
    match &observed.view {
        _ if observed.initialized => ConditionState::yes("Initialized"),
        // It responds, but with an error: waiting does not help.
        View::Down { problem } => ConditionState::no("NotInitialized", problem.as_str()),
        _ => ConditionState::no("NotInitialized", ""),
    }
}

/// `CertificatesAvailable`.
pub(super) fn certificates(
    observed: &Observed,
    plan: &Plan,
    missing: Option<Purpose>,
) -> ConditionState {
    match (&plan.waiting, missing) {
        (Some(on @ (WaitingOn::UserCertificate(_) | WaitingOn::LostCertificate(_))), _) => {
            ConditionState::no(reason::NOT_AVAILABLE, describe_wait(on))
        }
        (_, None) if observed.cluster.is_some() => ConditionState::yes(reason::AVAILABLE),
        _ => ConditionState::no(reason::NOT_AVAILABLE, ""),
    }
}

/// Returns the machine conditions that show the state of pods.
pub(super) fn pods(etcd_is_stacked: bool) -> Vec<&'static str> {
    let mut kinds = vec![
        health::API_SERVER_POD_HEALTHY,
        health::CONTROLLER_MANAGER_POD_HEALTHY,
        health::SCHEDULER_POD_HEALTHY,
    ];
    if etcd_is_stacked {
        kinds.push(health::ETCD_POD_HEALTHY);
    }
    kinds
}

/// Aggregates the health conditions of machines.
pub(super) fn aggregated(
    observed: &Observed,
    machines: &Machines,
    kinds: &[&str],
) -> ConditionState {
    const REASONS: Reasons =
        Reasons { issue: "NotHealthy", unknown: "HealthUnknown", good: "Healthy" };
    if !observed.initialized {
        return ConditionState::unknown(
            reason::INSPECTION_FAILED,
            "Waiting for Cluster control plane to be initialized",
        );
    }
    if let View::Down { problem } = &observed.view {
        return ConditionState::unknown(reason::CONNECTION_DOWN, problem.as_str());
    }
    let all = kinds
        .iter()
        .flat_map(|kind| machines.iter().map(|(name, list)| (name.as_str(), list.get(kind))));
    aggregate("Machine", all, REASONS)
}

/// `MachinesReady`.
pub(super) fn machines_ready(machines: &Machines) -> ConditionState {
    let reasons =
        Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, good: reason::READY };
    of_machines(machines, conditions::READY, reasons)
}

/// `MachinesUpToDate`.
pub(super) fn machines_up_to_date(machines: &Machines) -> ConditionState {
    let reasons = Reasons {
        issue: reason::NOT_UP_TO_DATE,
        unknown: reason::UP_TO_DATE_UNKNOWN,
        good: reason::UP_TO_DATE,
    };
    of_machines(machines, conditions::UP_TO_DATE, reasons)
}

fn of_machines(machines: &Machines, kind: &str, reasons: Reasons) -> ConditionState {
    if machines.is_empty() {
        return ConditionState::yes(reason::NO_REPLICAS);
    }
    let all = machines.iter().map(|(name, list)| (name.as_str(), list.get(kind)));
    aggregate("Machine", all, reasons)
}

/// `RollingOut`.
pub(super) fn rolling_out(known: StatusInputs<'_>, machines: &Machines) -> ConditionState {
    let mut lines: Vec<&str> = Vec::new();
    let mut count = 0_usize;
    for (_, list) in machines {
        let Some(condition) = list.get(conditions::UP_TO_DATE) else { continue };
        if condition.status == Status::False.as_str() {
            count += 1;
            lines.extend(condition.message.lines());
        }
    }
    if count == 0 {
        return ConditionState::no(reason::NOT_ROLLING_OUT, "");
    }
    lines.sort_unstable_by_key(|line| (!line.starts_with("* Version"), *line));
    lines.dedup();
    let mut message = format!("Rolling out {count} not up-to-date replicas\n{}", lines.join("\n"));
    if let Some(on @ (WaitingOn::User(_) | WaitingOn::Template | WaitingOn::Preflight(_))) =
        &known.plan.waiting
    {
        message.push_str("\n* ");
        message.push_str(&describe_wait(on));
    }
    ConditionState::new(Status::True, reason::ROLLING_OUT, message)
}

/// `ScalingUp`.
pub(super) fn scaling_up(known: StatusInputs<'_>) -> ConditionState {
    let (have, want) = replicas(known);
    let blocked = match &known.plan.waiting {
        Some(WaitingOn::Template) => "the infrastructure template does not exist".to_owned(),
        Some(
            on @ (WaitingOn::Preflight(_)
            | WaitingOn::User(_)
            | WaitingOn::Initialization
            | WaitingOn::UserCertificate(_)
            | WaitingOn::LostCertificate(_)
            | WaitingOn::Endpoint
            | WaitingOn::Infrastructure),
        ) => describe_wait(on),
        _ => String::new(),
    };
    if have >= want {
        return ConditionState::no(reason::NOT_SCALING_UP, "");
    }
    let mut message = format!("Scaling up from {have} to {want} replicas");
    if !blocked.is_empty() {
        message = format!("{message} is blocked because:\n* {blocked}");
    }
    ConditionState::new(Status::True, reason::SCALING_UP, message)
}

/// `ScalingDown`.
pub(super) fn scaling_down(known: StatusInputs<'_>) -> ConditionState {
    let (have, want) = replicas(known);
    if have <= want {
        return ConditionState::no(reason::NOT_SCALING_DOWN, "");
    }
    let mut message = format!("Scaling down from {have} to {want} replicas");
    if let Some(on @ (WaitingOn::Preflight(_) | WaitingOn::User(_))) = &known.plan.waiting {
        message = format!("{message} is blocked because:\n* {}", describe_wait(on));
    }
    ConditionState::new(Status::True, reason::SCALING_DOWN, message)
}

/// Returns the current and the desired number of machines.
fn replicas(known: StatusInputs<'_>) -> (usize, usize) {
    let want = if is_deleting(known.kcp.meta()) {
        0
    } else {
        usize::try_from(known.kcp.spec.replicas.unwrap_or(1)).unwrap_or(0)
    };
    (known.observed.machines.len(), want)
}

/// `Remediating`: what is done about unhealthy machines, or why nothing is done.
pub(super) fn remediating(machines: &Machines) -> ConditionState {
    let is_false = |list: &Conditions, kind| list.status(kind) == Some(Status::False);
    let mut waiting = Vec::new();
    let mut others = Vec::new();
    for (name, list) in machines {
        if !is_false(list, conditions::HEALTH_CHECK_SUCCEEDED) {
            continue;
        }
        match list.get(conditions::OWNER_REMEDIATED) {
            Some(said) if said.status == Status::False.as_str() => {
                let message = if said.message.is_empty() { &said.reason } else { &said.message };
                waiting.push(format!("* Machine {name}: {message}"));
            }
            _ => others.push(format!(
                "* Machine {name} is unhealthy, but its replacement is not requested"
            )),
        }
    }
    if waiting.is_empty() {
        return ConditionState::no(reason::NOT_REMEDIATING, others.join("\n"));
    }
    ConditionState::new(Status::True, reason::REMEDIATING, waiting.join("\n"))
}

/// `Deleting`.
pub(super) fn deleting(known: StatusInputs<'_>) -> ConditionState {
    if !is_deleting(known.kcp.meta()) {
        return ConditionState::no(reason::NOT_DELETING, "");
    }
    let (why, message) = match &known.plan.waiting {
        Some(on @ WaitingOn::Workers(_)) => ("WaitingForWorkersDeletion", describe_wait(on)),
        Some(on @ WaitingOn::Machines(_)) => ("WaitingForMachineDeletion", describe_wait(on)),
        _ => (reason::DELETION_COMPLETED, String::new()),
    };
    ConditionState::new(Status::True, why, message)
}

/// `Available`: at least one machine serves, and etcd has a quorum.
pub(super) fn available(
    known: StatusInputs<'_>,
    machines: &Machines,
    certificates: bool,
) -> ConditionState {
    if !known.observed.initialized {
        return ConditionState::no(reason::NOT_AVAILABLE, "Control plane not yet initialized");
    }
    let stacked = has_stacked_etcd(known.kcp);
    let mut kinds = pods(stacked);
    if stacked {
        kinds.push(health::ETCD_MEMBER_HEALTHY);
    }
    let total = machines.len();
    let serving =
        machines.iter().filter(|(_, list)| kinds.iter().all(|kind| list.is_true(kind))).count();
    let members =
        machines.iter().filter(|(_, list)| list.is_true(health::ETCD_MEMBER_HEALTHY)).count();
    let quorum = total / 2 + 1;
    let mut problems = Vec::new();
    if is_deleting(known.kcp.meta()) {
        problems.push("* Control plane metadata.deletionTimestamp is set".to_owned());
    }
    if !certificates {
        problems.push("* Control plane certificates are not available".to_owned());
    }
    if stacked && members < quorum {
        problems.push(format!(
            "* {members} of {total} etcd members are healthy, at least {quorum} healthy members \
             required for etcd quorum"
        ));
    }
    if serving == 0 {
        problems.push(
            "* There are no Machines with healthy control plane components, at least 1 required"
                .to_owned(),
        );
    }
    if problems.is_empty() {
        ConditionState::yes(reason::AVAILABLE)
    } else {
        ConditionState::no(reason::NOT_AVAILABLE, problems.join("\n"))
    }
}
