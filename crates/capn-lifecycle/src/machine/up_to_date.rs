//! Whether a machine is what its deployment wants. Pure.

use capi_api::conditions::reason;
use capi_api::{Machine, MachineDeployment, MachineSet};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;

use crate::summary::Verdict;
use crate::template::differences;

/// The verdict for machines of a deployment, `None` for all others: a control plane judges its
/// machines itself.
pub(super) fn verdict(
    machine: &Machine,
    set: Option<&MachineSet>,
    deployment: Option<&MachineDeployment>,
    node: Option<&Node>,
    now: Timestamp,
) -> Option<Verdict> {
    let (set, deployment) = (set?, deployment?);
    let mut problems = differences(&set.spec.template, &deployment.spec.template);
    let after = deployment.spec.rollout.as_ref().and_then(|rollout| rollout.after.as_ref());
    let is_older = |Time(after): &Time| {
        *after <= now && set.meta().creation_timestamp.as_ref().is_some_and(|t| t.0 < *after)
    };
    if after.is_some_and(is_older) {
        problems.push("the time of spec.rollout.after has come".to_owned());
    }
    if problems.is_empty()
        && let Some((runs, wanted)) = kubelet(machine, node)
    {
        problems.push(format!("kubelet {runs}, {wanted} required"));
    }
    Some(if problems.is_empty() {
        Verdict::yes(reason::UP_TO_DATE)
    } else {
        let lines: Vec<_> = problems.iter().map(|problem| format!("* {problem}")).collect();
        Verdict::no(reason::NOT_UP_TO_DATE, lines.join("\n"))
    })
}

/// The kubelet's version and the wanted one, where they differ.
fn kubelet<'a>(machine: &'a Machine, node: Option<&'a Node>) -> Option<(&'a str, &'a str)> {
    let wanted = machine.spec.version.as_deref()?;
    let runs = node?.status.as_ref()?.node_info.as_ref()?.kubelet_version.as_str();
    (!runs.is_empty() && runs != wanted).then_some((runs, wanted))
}
