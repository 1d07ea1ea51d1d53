//! Compares a machine with its deployment. Pure.

use capi_api::conditions::reason;
use capi_api::{Machine, MachineDeployment, MachinePool, MachineSet};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;

use crate::objects::is_deleting;
use crate::summary::ConditionState;
use crate::template::differences;

/// Returns the condition for machines of a deployment, and `None` for all others: a control plane
/// compares its machines itself.
pub(super) fn state(
    machine: &Machine,
    set: Option<&MachineSet>,
    deployment: Option<&MachineDeployment>,
    node: Option<&Node>,
    now: Timestamp,
) -> Option<ConditionState> {
    let (set, deployment) = (set?, deployment?);
    let mut problems = differences(&set.spec.template, &deployment.spec.template);
    let after = deployment.spec.rollout.as_ref().and_then(|rollout| rollout.after.as_ref());
    let is_older = |Time(after): &Time| {
        *after <= now && set.meta().creation_timestamp.as_ref().is_some_and(|t| t.0 < *after)
    };
    if after.is_some_and(is_older) {
        problems.push("spec.rollout.after has passed".to_owned());
    }
    if problems.is_empty()
        && let Some((runs, wanted)) = kubelet(machine, node)
    {
        problems.push(format!("kubelet {runs}, {wanted} required"));
    }
    Some(if problems.is_empty() {
        ConditionState::yes(reason::UP_TO_DATE)
    } else {
        let lines: Vec<_> = problems.iter().map(|problem| format!("* {problem}")).collect();
        ConditionState::no(reason::NOT_UP_TO_DATE, lines.join("\n"))
    })
}

/// Returns the condition for a machine of a pool. Only its provider knows the other inputs of a
/// machine, and replaces it if they change.
pub(super) fn of_pool(machine: &Machine, pool: &MachinePool) -> ConditionState {
    if is_deleting(machine.meta()) {
        return ConditionState::no(reason::NOT_UP_TO_DATE, "* the machine is being deleted");
    }
    let runs = machine.spec.version.as_deref();
    match (runs, pool.spec.template.spec.version.as_deref()) {
        (Some(runs), Some(wanted)) if runs != wanted => ConditionState::no(
            reason::NOT_UP_TO_DATE,
            format!("* Version {runs}, {wanted} required"),
        ),
        _ => ConditionState::yes(reason::UP_TO_DATE),
    }
}

/// Returns the kubelet version and the desired one, if they differ.
fn kubelet<'a>(machine: &'a Machine, node: Option<&'a Node>) -> Option<(&'a str, &'a str)> {
    let wanted = machine.spec.version.as_deref()?;
    let runs = node?.status.as_ref()?.node_info.as_ref()?.kubelet_version.as_str();
    (!runs.is_empty() && runs != wanted).then_some((runs, wanted))
}
