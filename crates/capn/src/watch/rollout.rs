//! Replacement of machines by machines of another version. No I/O and no clock.

use capi_api::Machine;
use capi_api::conditions::{self, DELETING, ROLLING_OUT};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::View;
use super::steps::{State, StepView, role};
use super::view::complaint;

/// Key prefix of machines that are being deleted.
pub(super) const LEAVING: &str = "leaving/";

/// Machines that are being deleted, as steps that complete when they are gone.
pub(super) fn leaving(view: &View) -> Vec<StepView> {
    let is_leaving = |machine: &&Machine| machine.metadata.deletion_timestamp.is_some();
    view.machines
        .iter()
        .map(AsRef::as_ref)
        .filter(is_leaving)
        .map(|machine| {
            let (role, name) = (role(machine), machine.name_any());
            let version = machine.spec.version.as_deref().unwrap_or("no version");
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            StepView {
                key: format!("{LEAVING}{name}"),
                doing: format!("delete {role} `{name}` ({version})"),
                done: format!("{role} `{name}` ({version}) is deleted"),
                state: State::Busy(
                    conditions::get(list, DELETING).map(complaint).unwrap_or_default(),
                ),
            }
        })
        .collect()
}

/// Returns whether all machines have a version, and the control plane has finished its follow-up
/// work.
pub(super) fn is_over(view: &View, version: &str) -> bool {
    let is_rolling_out = view.control_plane.as_ref().is_some_and(|found| {
        let status = found.status.as_ref();
        is_rolling_out(status.and_then(|status| status.conditions.as_ref()))
    });
    !is_rolling_out
        && view.machines.iter().all(|found| found.spec.version.as_deref() == Some(version))
}

fn is_rolling_out(conditions: Option<&Vec<Condition>>) -> bool {
    conditions::is_true(conditions, ROLLING_OUT)
}

/// Returns whether the controllers have observed the objects and have no machine left to replace.
pub(super) fn is_settled(view: &View) -> bool {
    let has_seen = |generation: Option<i64>, observed: Option<i64>| observed >= generation;
    let control_plane = view.control_plane.as_ref().is_none_or(|found| {
        let status = found.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        has_seen(found.metadata.generation, observed)
            && !is_rolling_out(status.and_then(|status| status.conditions.as_ref()))
    });
    control_plane
        && view.deployments.iter().all(|found| {
            let status = found.status.as_ref();
            let observed = status.and_then(|status| status.observed_generation);
            has_seen(found.metadata.generation, observed)
                && !is_rolling_out(status.and_then(|status| status.conditions.as_ref()))
        })
        && view.pools.iter().all(|found| {
            let status = found.status.as_ref();
            let count = status.and_then(|status| status.up_to_date_replicas);
            has_seen(
                found.metadata.generation,
                status.and_then(|status| status.observed_generation),
            ) && count == found.spec.replicas
        })
        && leaving(view).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(machines: &[(&str, bool)], is_rolling_out: bool) -> View {
        let status = if is_rolling_out { "True" } else { "False" };
        let control_plane = json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
            "metadata": { "name": "demo" },
            "spec": { "version": "v1.37.0", "machineTemplate": { "spec": { "infrastructureRef": {
                "apiGroup": "a", "kind": "B", "name": "c" } } } },
            "status": { "conditions": [{ "type": "RollingOut", "status": status, "reason": "R",
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        });
        let machines = machines.iter().enumerate().map(|(number, (version, is_leaving))| {
            let mut machine = json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                "metadata": { "name": format!("m-{number}") },
                "spec": { "clusterName": "demo", "bootstrap": {}, "version": version,
                    "infrastructureRef": { "apiGroup": "a", "kind": "B", "name": "c" } },
            });
            if *is_leaving {
                machine["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            serde_json::from_value(machine).map(std::sync::Arc::new).unwrap()
        });
        View {
            machines: machines.collect(),
            control_plane: Some(
                serde_json::from_value(control_plane).map(std::sync::Arc::new).unwrap(),
            ),
            ..View::default()
        }
    }

    #[test]
    fn a_rollout_completes_when_all_machines_have_the_version_and_follow_up_is_done() {
        for (machines, is_rolling_out, wanted) in [
            (&[("v1.37.0", false), ("v1.37.0", false)][..], false, true),
            (&[("v1.37.0", false)], true, false),
            (&[("v1.37.0", false), ("v1.36.0", false)], false, false),
            (&[("v1.37.0", false), ("v1.36.0", true)], false, false),
        ] {
            assert_eq!(is_over(&view(machines, is_rolling_out), "v1.37.0"), wanted, "{machines:?}");
        }
    }

    #[test]
    fn an_apply_completes_when_controllers_observed_it_and_replace_nothing() {
        let with = |observed: Option<i64>, is_rolling_out, machines: &[(&str, bool)]| {
            let mut view = view(machines, is_rolling_out);
            let mut control_plane = view.control_plane.as_deref().unwrap().clone();
            control_plane.metadata.generation = Some(2);
            control_plane.status.as_mut().unwrap().observed_generation = observed;
            view.control_plane = Some(std::sync::Arc::new(control_plane));
            is_settled(&view)
        };
        let (old, leaves) = (("v1.36.0", false), ("v1.36.0", true));
        assert!(!with(Some(1), false, &[old]), "not seen yet");
        assert!(!with(None, false, &[old]), "never seen");
        assert!(!with(Some(2), true, &[old]), "machines are replaced");
        assert!(!with(Some(2), false, &[leaves]), "one leaves");
        assert!(with(Some(2), false, &[old]));
        assert!(is_settled(&View::default()));
    }

    #[test]
    fn a_deleting_machine_is_a_step_with_its_version() {
        let steps = leaving(&view(&[("v1.37.0", false), ("v1.36.0", true)], true));
        let done: Vec<&str> = steps.iter().map(|step| step.done.as_str()).collect();
        assert_eq!(done, ["worker `m-1` (v1.36.0) is deleted"]);
    }
}
