//! Decides when the instance of a control plane that is being deleted may be stopped: once the load
//! balancer no longer sends clients to it, or after a short deadline.

use std::time::Duration;

use capn_api::{LXCClusterSpec, LoadBalancerKind};

/// Maximum time that a load balancer may delay the deletion of a control plane.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A machine that is being deleted, as far as draining depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeletingMachine<'a> {
    /// The infrastructure of its cluster, if it still exists.
    pub cluster: Option<&'a LXCClusterSpec>,
    /// Whether the Cluster or the LXCCluster is being deleted too, so that no clients are left.
    pub with_cluster: bool,
    /// Whether it is a control plane.
    pub control_plane: bool,
    /// `status.loadBalancerConfigured`: the load balancer forwarded to the machine.
    pub configured: bool,
    /// Whether the machine has the annotation [`capn_api::keys::DRAINED_ANNOTATION`].
    pub drained: bool,
    /// Time since the deletion was requested.
    pub since: Duration,
}

/// Whether the instance may be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainState {
    /// The instance may be stopped.
    Done,
    /// The instance must run until the load balancer releases it, or for this long.
    Wait(Duration),
}

/// Decides whether the instance of a machine that is being deleted may be stopped.
pub fn of(machine: &DeletingMachine<'_>) -> DrainState {
    let kept = matches!(
        machine.cluster.and_then(|cluster| cluster.load_balancer.kind()),
        Some(LoadBalancerKind::Lxc(_) | LoadBalancerKind::Oci(_))
    );
    let served = kept && machine.control_plane && machine.configured && !machine.with_cluster;
    match DEADLINE.checked_sub(machine.since) {
        Some(left) if served && !machine.drained && !left.is_zero() => DrainState::Wait(left),
        _ => DrainState::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(balancer: &str) -> LXCClusterSpec {
        serde_json::from_value(json!({ "loadBalancer": { (balancer): {} } })).unwrap()
    }

    #[test]
    fn only_a_control_plane_behind_a_load_balancer_is_drained() {
        let (lxc, oci, ovn) = (cluster("lxc"), cluster("oci"), cluster("ovn"));
        let machine = DeletingMachine {
            cluster: Some(&lxc),
            with_cluster: false,
            control_plane: true,
            configured: true,
            drained: false,
            since: Duration::from_secs(3),
        };
        let wait = DrainState::Wait(Duration::from_secs(7));
        for (what, machine, expected) in [
            ("served", machine, wait),
            ("served by oci", DeletingMachine { cluster: Some(&oci), ..machine }, wait),
            ("drained", DeletingMachine { drained: true, ..machine }, DrainState::Done),
            ("a worker", DeletingMachine { control_plane: false, ..machine }, DrainState::Done),
            ("never served", DeletingMachine { configured: false, ..machine }, DrainState::Done),
            (
                "with its cluster",
                DeletingMachine { with_cluster: true, ..machine },
                DrainState::Done,
            ),
            (
                "another balancer",
                DeletingMachine { cluster: Some(&ovn), ..machine },
                DrainState::Done,
            ),
            ("no cluster", DeletingMachine { cluster: None, ..machine }, DrainState::Done),
            ("too late", DeletingMachine { since: DEADLINE, ..machine }, DrainState::Done),
            (
                "long ago",
                DeletingMachine { since: Duration::from_secs(99), ..machine },
                DrainState::Done,
            ),
        ] {
            assert_eq!(of(&machine), expected, "{what}");
        }
    }
}
