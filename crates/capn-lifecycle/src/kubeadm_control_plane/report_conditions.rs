//! What each condition of a control plane says. Pure.

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::controlplane::machine_conditions as health;
use kube::Resource as _;

use super::health::View;
use super::observe::Observed;
use super::report::{Known, words};
use super::step::{Plan, WaitingOn};
use super::validate::has_stacked_etcd;
use crate::objects::is_deleting;
use crate::pki::Purpose;
use crate::summary::{Reasons, Verdict, aggregate};

type Machines = [(String, Conditions)];

/// `Initialized`.
pub(super) fn initialized(seen: &Observed) -> Verdict {
    match &seen.view {
        _ if seen.initialized => Verdict::yes("Initialized"),
        // Answers, but not as it should: waiting would not help.
        View::Down { problem } => Verdict::no("NotInitialized", problem.as_str()),
        _ => Verdict::no("NotInitialized", ""),
    }
}

/// `CertificatesAvailable`.
pub(super) fn certificates(seen: &Observed, plan: &Plan, missing: Option<Purpose>) -> Verdict {
    match (&plan.waiting, missing) {
        (Some(on @ (WaitingOn::UserCertificate(_) | WaitingOn::LostCertificate(_))), _) => {
            Verdict::no(reason::NOT_AVAILABLE, words(on))
        }
        (_, None) if seen.cluster.is_some() => Verdict::yes(reason::AVAILABLE),
        _ => Verdict::no(reason::NOT_AVAILABLE, ""),
    }
}

/// Conditions of machines that say how their pods are.
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

/// Health conditions of machines, all in one.
pub(super) fn aggregated(seen: &Observed, machines: &Machines, kinds: &[&str]) -> Verdict {
    const REASONS: Reasons =
        Reasons { issue: "NotHealthy", unknown: "HealthUnknown", good: "Healthy" };
    if !seen.initialized {
        return Verdict::unknown(
            reason::INSPECTION_FAILED,
            "Waiting for Cluster control plane to be initialized",
        );
    }
    if let View::Down { problem } = &seen.view {
        return Verdict::unknown(reason::CONNECTION_DOWN, problem.as_str());
    }
    let all = kinds
        .iter()
        .flat_map(|kind| machines.iter().map(|(name, list)| (name.as_str(), list.get(kind))));
    aggregate("Machine", all, REASONS)
}

/// `MachinesReady`.
pub(super) fn machines_ready(machines: &Machines) -> Verdict {
    let reasons =
        Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, good: reason::READY };
    of_machines(machines, conditions::READY, reasons)
}

/// `MachinesUpToDate`.
pub(super) fn machines_up_to_date(machines: &Machines) -> Verdict {
    let reasons = Reasons {
        issue: reason::NOT_UP_TO_DATE,
        unknown: reason::UP_TO_DATE_UNKNOWN,
        good: reason::UP_TO_DATE,
    };
    of_machines(machines, conditions::UP_TO_DATE, reasons)
}

fn of_machines(machines: &Machines, kind: &str, reasons: Reasons) -> Verdict {
    if machines.is_empty() {
        return Verdict::yes(reason::NO_REPLICAS);
    }
    let all = machines.iter().map(|(name, list)| (name.as_str(), list.get(kind)));
    aggregate("Machine", all, reasons)
}

/// `RollingOut`.
pub(super) fn rolling_out(known: Known<'_>, machines: &Machines) -> Verdict {
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
        return Verdict::no(reason::NOT_ROLLING_OUT, "");
    }
    lines.sort_unstable_by_key(|line| (!line.starts_with("* Version"), *line));
    lines.dedup();
    let mut message = format!("Rolling out {count} not up-to-date replicas\n{}", lines.join("\n"));
    if let Some(on @ (WaitingOn::User(_) | WaitingOn::Template | WaitingOn::Preflight(_))) =
        &known.plan.waiting
    {
        message.push_str("\n* ");
        message.push_str(&words(on));
    }
    Verdict::new(Status::True, reason::ROLLING_OUT, message)
}

/// `ScalingUp`.
pub(super) fn scaling_up(known: Known<'_>) -> Verdict {
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
        ) => words(on),
        _ => String::new(),
    };
    if have >= want {
        return Verdict::no(reason::NOT_SCALING_UP, "");
    }
    let mut message = format!("Scaling up from {have} to {want} replicas");
    if !blocked.is_empty() {
        message = format!("{message} is blocked because:\n* {blocked}");
    }
    Verdict::new(Status::True, reason::SCALING_UP, message)
}

/// `ScalingDown`.
pub(super) fn scaling_down(known: Known<'_>) -> Verdict {
    let (have, want) = replicas(known);
    if have <= want {
        return Verdict::no(reason::NOT_SCALING_DOWN, "");
    }
    let mut message = format!("Scaling down from {have} to {want} replicas");
    if let Some(on @ (WaitingOn::Preflight(_) | WaitingOn::User(_))) = &known.plan.waiting {
        message = format!("{message} is blocked because:\n* {}", words(on));
    }
    Verdict::new(Status::True, reason::SCALING_DOWN, message)
}

/// How many machines there are and how many there are to be.
fn replicas(known: Known<'_>) -> (usize, usize) {
    let want = if is_deleting(known.kcp.meta()) {
        0
    } else {
        usize::try_from(known.kcp.spec.replicas.unwrap_or(1)).unwrap_or(0)
    };
    (known.seen.machines.len(), want)
}

/// `Remediating`: what is done about unhealthy machines, or why nothing is.
pub(super) fn remediating(machines: &Machines) -> Verdict {
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
            _ => others.push(format!("* Machine {name} is unhealthy, and not to be replaced")),
        }
    }
    if waiting.is_empty() {
        return Verdict::no(reason::NOT_REMEDIATING, others.join("\n"));
    }
    Verdict::new(Status::True, reason::REMEDIATING, waiting.join("\n"))
}

/// `Deleting`.
pub(super) fn deleting(known: Known<'_>) -> Verdict {
    if !is_deleting(known.kcp.meta()) {
        return Verdict::no(reason::NOT_DELETING, "");
    }
    let (why, message) = match &known.plan.waiting {
        Some(on @ WaitingOn::Workers(_)) => ("WaitingForWorkersDeletion", words(on)),
        Some(on @ WaitingOn::Machines(_)) => ("WaitingForMachineDeletion", words(on)),
        _ => (reason::DELETION_COMPLETED, String::new()),
    };
    Verdict::new(Status::True, why, message)
}

/// `Available`: some machine serves, and etcd has a quorum.
pub(super) fn available(known: Known<'_>, machines: &Machines, certificates: bool) -> Verdict {
    if !known.seen.initialized {
        return Verdict::no(reason::NOT_AVAILABLE, "Control plane not yet initialized");
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
        Verdict::yes(reason::AVAILABLE)
    } else {
        Verdict::no(reason::NOT_AVAILABLE, problems.join("\n"))
    }
}
