//! Which instances are stopped or started, and in which order. No I/O.

use capn_api::{Isolation, keys};
use capn_plan::isolation;
use capn_plan::life::{self, Life};
use incus_client::api::{Instance, InstanceFull};

/// What an instance is to its cluster, in the order in which a cluster is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs applications.
    Worker,
    /// Runs the API server and etcd.
    ControlPlane,
    /// Leads to the control planes.
    LoadBalancer,
}

impl Role {
    /// The words for it.
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

/// What is done with one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the instance.
    pub instance: String,
    /// What it is to its cluster.
    pub role: Role,
    /// It is held and has to be let go first.
    pub is_frozen: bool,
}

/// Steps that are taken at the same time, before those of the next stage.
pub type Stage = Vec<Step>;

/// Stops workers, then control planes, then the load balancer; those that run.
pub fn stop(instances: &[Instance]) -> Vec<Stage> {
    let runs = |instance: &Instance| {
        matches!(life::of(instance), Life::Running | Life::Frozen | Life::Changing | Life::Broken)
    };
    stages(instances, runs)
}

/// Starts the load balancer, then control planes, then workers; those that ran before and do not now.
/// What never ran is still being made.
pub fn start(instances: &[Instance]) -> Vec<Stage> {
    let rests = |instance: &Instance| {
        matches!(life::of(instance), Life::Stopped | Life::Frozen | Life::Changing)
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
            is_frozen: life::of(instance) == Life::Frozen,
        })
        .collect();
    steps.sort_by(|a, b| (a.role, &a.instance).cmp(&(b.role, &b.instance)));
    steps.chunk_by(|a, b| a.role == b.role).map(<[Step]>::to_vec).collect()
}

/// How an instance breaks what its cluster promises, if it does: it is not started then, as the provider
/// would not start it.
pub fn excluded(isolation: Isolation, instance: &Instance) -> Option<String> {
    let isolation = match (Role::of(instance), isolation) {
        // Whatever ids it was made with, it holds nothing of the nodes.
        (Role::LoadBalancer, Isolation::Isolated) => Isolation::Shared,
        (_, isolation) => isolation,
    };
    let full = InstanceFull { instance: instance.clone(), ..InstanceFull::default() };
    let breaches = isolation::breaches_of_instance(isolation, &full);
    (!breaches.is_empty()).then(|| isolation::message(isolation, &breaches))
}

/// Instances that the server starts by itself when its host does, whatever they were before.
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
    fn what_is_as_asked_is_left_alone() {
        assert!(stop(&cluster(StatusCode::Stopped)).is_empty());
        assert!(start(&cluster(StatusCode::Running)).is_empty());
    }

    #[test]
    fn each_state_of_an_instance_has_its_answer() {
        for (code, keys, stops, starts) in [
            (StatusCode::Running, RAN, true, false),
            (StatusCode::Stopped, RAN, false, true),
            // Made, and never started: the controllers start it with what it needs.
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
    fn an_instance_that_became_privileged_while_it_was_stopped_is_not_started() {
        let mut node = instance("w", keys::ROLE_WORKER, StatusCode::Stopped, RAN);
        node.expanded_config.insert("security.privileged".into(), "true".into());
        assert!(excluded(Isolation::Shared, &node).unwrap().contains("security.privileged"));
        assert_eq!(excluded(Isolation::Privileged, &node), None);
        // The ids of a load balancer are nobody's secret.
        let shared = instance("lb", keys::ROLE_LOAD_BALANCER, StatusCode::Stopped, RAN);
        assert_eq!(excluded(Isolation::Isolated, &shared), None);
    }

    #[test]
    fn instances_that_the_server_starts_by_itself_are_known() {
        let mut all = cluster(StatusCode::Running);
        all[0].expanded_config.insert("boot.autostart".into(), "true".into());
        all[1].expanded_config.insert("boot.autostart".into(), "false".into());
        assert_eq!(start_by_themselves(&all), ["lb"]);
    }
}
