//! Steps of a cluster deletion.

use kube::ResourceExt as _;

use super::View;
use super::steps::{State, StepView};
use super::view::{cluster_conditions, complaint, condition, machine_conditions};

/// Returns the remaining objects, as steps in progress. No steps means the cluster no longer
/// exists.
pub(super) fn steps(view: &View) -> Vec<StepView> {
    let mut steps = of_machines(view);
    if let Some(lxc_cluster) = &view.lxc_cluster {
        let waits = condition(cluster_conditions(lxc_cluster), capn_api::conditions::DELETING)
            .map(complaint)
            .unwrap_or_default();
        steps.push(step("load-balancer".to_owned(), "load balancer", waits));
    }
    if let Some(cluster) = &view.cluster {
        let name = cluster.name_any();
        steps.push(step(format!("cluster/{name}"), &format!("cluster `{name}`"), String::new()));
    }
    steps
}

/// Returns the remaining machines and their MachineDeployments.
pub(super) fn of_pools(view: &View) -> Vec<StepView> {
    let deployments = view.deployments.iter().map(|found| {
        let name = found.name_any();
        step(format!("deployment/{name}"), &format!("MachineDeployment `{name}`"), String::new())
    });
    of_machines(view).into_iter().chain(deployments).collect()
}

fn of_machines(view: &View) -> Vec<StepView> {
    let mut steps = Vec::new();
    for machine in &view.lxc_machines {
        let waits = condition(machine_conditions(machine), capn_api::conditions::DELETING)
            .map(complaint)
            .unwrap_or_default();
        let name = machine.name_any();
        steps.push(step(format!("instance/{name}"), &format!("instance `{name}`"), waits));
    }
    for machine in &view.machines {
        let waits = machine
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref())
            .and_then(|conditions| condition(conditions, capi_api::conditions::DELETING))
            .map(complaint)
            .unwrap_or_default();
        // While its instance exists, the machine gets no line of its own: it may wait for its node
        // to drain, and its instance waits for that.
        let key = format!("instance/{}", machine.spec.infrastructure_ref.name);
        match steps.iter_mut().find(|step: &&mut StepView| step.key == key) {
            Some(step) => {
                if step.state == State::Busy(String::new()) {
                    step.state = State::Busy(waits);
                }
            }
            None => {
                let name = machine.name_any();
                steps.push(step(format!("machine/{name}"), &format!("machine `{name}`"), waits));
            }
        }
    }
    steps
}

fn step(key: String, what: &str, waits: String) -> StepView {
    StepView {
        key,
        doing: format!("delete {what}"),
        done: format!("{what} deleted"),
        state: State::Busy(waits),
    }
}
