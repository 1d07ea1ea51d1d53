//! Preflight checks before a machine is added or removed, and the placement of new machines. Pure.

use std::collections::BTreeMap;

use capi_api::Cluster;
use capi_api::conditions;
use capi_api::controlplane::machine_conditions as health;

use super::observe::OwnedMachine;

/// Returns the failed checks, one per line. Empty means that the check passed.
pub(super) fn problems(machines: &[OwnedMachine], etcd_is_stacked: bool) -> Vec<String> {
    problems_without(machines, "", etcd_is_stacked)
}

/// Like [`problems`], but ignores the machine that must be removed, because it may be the unhealthy
/// one.
pub(super) fn problems_without(
    machines: &[OwnedMachine],
    leaving: &str,
    etcd_is_stacked: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    if machines.iter().any(OwnedMachine::is_deleting) {
        problems.push("waiting for a control plane Machine to complete deletion".to_owned());
    }
    for owned in machines.iter().filter(|owned| !owned.is_deleting()) {
        let name = owned.name();
        if name == leaving {
            continue;
        }
        if owned.machine.node_name().is_none() {
            problems.push(format!("Machine {name} does not have a node yet"));
            continue;
        }
        let mut kinds = vec![
            health::API_SERVER_POD_HEALTHY,
            health::CONTROLLER_MANAGER_POD_HEALTHY,
            health::SCHEDULER_POD_HEALTHY,
        ];
        if etcd_is_stacked {
            kinds.extend([health::ETCD_POD_HEALTHY, health::ETCD_MEMBER_HEALTHY]);
        }
        let status = owned.machine.status.as_ref();
        let all = status.and_then(|status| status.conditions.as_ref());
        // A node registers before the last phases of kubeadm. The infrastructure machine reports
        // whether they failed.
        let kind = capi_api::conditions::INFRASTRUCTURE_READY;
        if let Some(condition) = conditions::get(all, kind).filter(|found| found.status == "False")
        {
            problems.push(format!("Machine {name}: {kind}: {}", condition.message));
        }
        for kind in kinds {
            match conditions::get(all, kind) {
                Some(condition) if condition.status == "True" => {}
                Some(condition) if condition.message.is_empty() => {
                    problems.push(format!("Machine {name}: {kind} is {}", condition.status));
                }
                Some(condition) => {
                    problems.push(format!("Machine {name}: {kind}: {}", condition.message));
                }
                None => problems.push(format!("Machine {name}: {kind} is not reported yet")),
            }
        }
    }
    problems
}

/// Returns the failure domain of a new machine: of those for control planes, the one with the
/// fewest machines of this control plane, then by name. `None` if there are no failure domains.
pub(super) fn failure_domain(cluster: &Cluster, machines: &[OwnedMachine]) -> Option<String> {
    let domains = cluster.status.as_ref()?.failure_domains.as_ref()?;
    let mut counts: BTreeMap<&str, usize> = domains
        .iter()
        .filter(|domain| domain.control_plane == Some(true))
        .map(|domain| (domain.name.as_str(), 0))
        .collect();
    for owned in machines.iter().filter(|owned| !owned.is_deleting()) {
        let domain = owned.machine.spec.failure_domain.as_deref();
        if let Some(count) = domain.and_then(|domain| counts.get_mut(domain)) {
            *count += 1;
        }
    }
    counts.into_iter().min_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
}
