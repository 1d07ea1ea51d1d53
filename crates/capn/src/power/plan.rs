//! Plans which instances to stop or start, and in which order. No I/O.

use capn_api::{Isolation, keys};
use capn_plan::isolation;
use capn_plan::phase::{self, InstancePhase};
use incus_client::api::{Instance, InstanceFull};

/// Role of an instance, in stopping order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs workloads.
    Worker,
    /// Runs the API server and etcd.
    ControlPlane,
    /// Forwards to the control planes.
    LoadBalancer,
}

impl Role {
    /// Returns the display name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::ControlPlane => "control plane",
            Self::LoadBalancer => "load balancer",
        }
    }

    fn of(instance: &Instance) -> Self {
        match instance.config.get(keys::INSTANCE_CLUSTER_ROLE).map(String::as_str) {
            Some(keys::ROLE_LOAD_BALANCER) => Self::LoadBalancer,
            Some(keys::ROLE_CONTROL_PLANE) => Self::ControlPlane,
            _ => Self::Worker,
        }
    }
}

/// Operation on one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the instance.
    pub instance: String,
    /// Its role.
    pub role: Role,
    /// It is frozen and must be unfrozen first.
    pub is_frozen: bool,
}

/// Operations that run concurrently, before those of the next stage.
pub type Stage = Vec<Step>;

/// Stops running workers, then control planes, then the load balancer.
pub fn stop(instances: &[Instance]) -> Vec<Stage> {
    let runs = |instance: &Instance| {
        matches!(
            phase::of(instance),
            InstancePhase::Running
                | InstancePhase::Frozen
                | InstancePhase::Changing
                | InstancePhase::Broken
        )
    };
    stages(instances, runs)
}

/// Starts stopped instances that ran before: load balancer, then control planes, then workers.
/// Instances that never ran are still being created.
pub fn start(instances: &[Instance]) -> Vec<Stage> {
    let rests = |instance: &Instance| {
        matches!(
            phase::of(instance),
            InstancePhase::Stopped | InstancePhase::Frozen | InstancePhase::Changing
        )
    };
    let mut stages = stages(instances, rests);
    stages.reverse();
    stages
}

fn stages(instances: &[Instance], is_meant: impl Fn(&Instance) -> bool) -> Vec<Stage> {
    let mut steps: Vec<Step> = instances
        .iter()
        .filter(|instance| is_meant(instance))
        .map(|instance| Step {
            instance: instance.name.clone(),
            role: Role::of(instance),
            is_frozen: phase::of(instance) == InstancePhase::Frozen,
        })
        .collect();
    steps.sort_by(|a, b| (a.role, &a.instance).cmp(&(b.role, &b.instance)));
    steps.chunk_by(|a, b| a.role == b.role).map(<[Step]>::to_vec).collect()
}

/// Returns how an instance violates the cluster's isolation, if it does. Such an instance is not
/// started, as in the provider.
pub fn excluded(isolation: Isolation, instance: &Instance) -> Option<String> {
    let isolation = match (Role::of(instance), isolation) {
        // A load balancer runs no workload of the nodes, whatever its id map.
        (Role::LoadBalancer, Isolation::Isolated) => Isolation::Shared,
        (_, isolation) => isolation,
    };
    let full = InstanceFull { instance: instance.clone(), ..InstanceFull::default() };
    let breaches = isolation::violations_of_instance(isolation, &full);
    (!breaches.is_empty()).then(|| isolation::message(isolation, &breaches))
}

/// Instances that the server starts when its host boots, regardless of their previous state.
pub fn start_by_themselves(instances: &[Instance]) -> Vec<String> {
    let is_set = |instance: &&Instance| {
        let value = instance.expanded_config.get("boot.autostart").map(String::as_str);
        matches!(value, Some("true" | "1" | "yes" | "on"))
    };
    instances.iter().filter(is_set).map(|instance| instance.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use incus_client::api::StatusCode;

    use super::*;

    fn instance(name: &str, role: &str, code: StatusCode, keys: &[(&str, &str)]) -> Instance {
        let role = [(keys::INSTANCE_CLUSTER_ROLE, role)];
        let config = role.iter().chain(keys).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Instance {
            name: name.to_owned(),
            status_code: code,
            config: config.collect(),
            ..Instance::default()
        }
    }

    fn names(stages: &[Stage]) -> Vec<Vec<&str>> {
        stages.iter().map(|s| s.iter().map(|step| step.instance.as_str()).collect()).collect()
    }

    const RAN: &[(&str, &str)] = &[("volatile.last_state.power", "STOPPED")];

    fn cluster(code: StatusCode) -> Vec<Instance> {
        vec![
            instance("lb", keys::ROLE_LOAD_BALANCER, code, RAN),
            instance("cp-b", keys::ROLE_CONTROL_PLANE, code, RAN),
            instance("w", keys::ROLE_WORKER, code, RAN),
            instance("cp-a", keys::ROLE_CONTROL_PLANE, code, RAN),
        ]
    }

    #[test]
    fn workers_stop_first_and_start_last() {
        let stopped = stop(&cluster(StatusCode::Running));
        assert_eq!(names(&stopped), [vec!["w"], vec!["cp-a", "cp-b"], vec!["lb"]]);
        let started = start(&cluster(StatusCode::Stopped));
        assert_eq!(names(&started), [vec!["lb"], vec!["cp-a", "cp-b"], vec!["w"]]);
    }

    #[test]
    fn instances_in_the_desired_state_are_not_touched() {
        assert!(stop(&cluster(StatusCode::Stopped)).is_empty());
        assert!(start(&cluster(StatusCode::Running)).is_empty());
    }

    #[test]
    fn each_instance_state_has_one_action() {
        for (code, keys, stops, starts) in [
            (StatusCode::Running, RAN, true, false),
            (StatusCode::Stopped, RAN, false, true),
            // Created but never started: the controllers start it.
            (StatusCode::Stopped, &[("volatile.apply_template", "create")], false, false),
            (StatusCode::Stopped, &[], false, false),
            (StatusCode::Frozen, RAN, true, true),
            (StatusCode::Stopping, RAN, true, true),
            (StatusCode::Error, RAN, true, false),
        ] {
            let one = [instance("a", keys::ROLE_WORKER, code, keys)];
            assert_eq!(!stop(&one).is_empty(), stops, "stop {code:?} {keys:?}");
            assert_eq!(!start(&one).is_empty(), starts, "start {code:?} {keys:?}");
        }
    }

    #[test]
    fn an_instance_made_privileged_while_stopped_is_not_started() {
        let mut node = instance("w", keys::ROLE_WORKER, StatusCode::Stopped, RAN);
        node.expanded_config.insert("security.privileged".into(), "true".into());
        assert!(excluded(Isolation::Shared, &node).unwrap().contains("security.privileged"));
        assert_eq!(excluded(Isolation::Privileged, &node), None);
        // The id map of a load balancer does not matter.
        let shared = instance("lb", keys::ROLE_LOAD_BALANCER, StatusCode::Stopped, RAN);
        assert_eq!(excluded(Isolation::Isolated, &shared), None);
    }

    #[test]
    fn autostarted_instances_are_recognized() {
        let mut all = cluster(StatusCode::Running);
        all[0].expanded_config.insert("boot.autostart".into(), "true".into());
        all[1].expanded_config.insert("boot.autostart".into(), "false".into());
        assert_eq!(start_by_themselves(&all), ["lb"]);
    }
}
