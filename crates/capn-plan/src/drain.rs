//! When the instance of a control plane that leaves may be stopped: not before the load balancer
//! has stopped sending clients to it, and not much later.

use std::time::Duration;

use capn_api::{LXCClusterSpec, LoadBalancerKind};

/// How long the end of a control plane may be held up by its load balancer.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A machine that is being deleted, as far as draining depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaving<'a> {
    /// The infrastructure of its cluster, if it is still there.
    pub cluster: Option<&'a LXCClusterSpec>,
    /// Whether the Cluster or the LXCCluster is being deleted too: nobody is left to be served.
    pub with_cluster: bool,
    /// Whether it is a control plane.
    pub control_plane: bool,
    /// `status.loadBalancerConfigured`: the load balancer forwarded to it.
    pub configured: bool,
    /// Whether it has the annotation [`capn_api::keys::DRAINED_ANNOTATION`].
    pub drained: bool,
    /// How long ago its deletion was asked for.
    pub since: Duration,
}

/// Whether its instance may be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Yes.
    Done,
    /// Not before the load balancer let go of it, or before this long.
    Wait(Duration),
}

/// Whether the instance of a machine that is being deleted may be stopped.
pub fn of(leaving: &Leaving<'_>) -> Drain {
    let kept = matches!(
        leaving.cluster.and_then(|cluster| cluster.load_balancer.kind()),
        Some(LoadBalancerKind::Lxc(_) | LoadBalancerKind::Oci(_))
    );
    let served = kept && leaving.control_plane && leaving.configured && !leaving.with_cluster;
    match DEADLINE.checked_sub(leaving.since) {
        Some(left) if served && !leaving.drained && !left.is_zero() => Drain::Wait(left),
        _ => Drain::Done,
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
    fn only_a_control_plane_that_clients_are_sent_to_is_waited_for() {
        let (lxc, oci, ovn) = (cluster("lxc"), cluster("oci"), cluster("ovn"));
        let leaving = Leaving {
            cluster: Some(&lxc),
            with_cluster: false,
            control_plane: true,
            configured: true,
            drained: false,
            since: Duration::from_secs(3),
        };
        let wait = Drain::Wait(Duration::from_secs(7));
        for (what, leaving, expected) in [
            ("served", leaving, wait),
            ("served by oci", Leaving { cluster: Some(&oci), ..leaving }, wait),
            ("drained", Leaving { drained: true, ..leaving }, Drain::Done),
            ("a worker", Leaving { control_plane: false, ..leaving }, Drain::Done),
            ("never served", Leaving { configured: false, ..leaving }, Drain::Done),
            ("with its cluster", Leaving { with_cluster: true, ..leaving }, Drain::Done),
            ("another balancer", Leaving { cluster: Some(&ovn), ..leaving }, Drain::Done),
            ("no cluster", Leaving { cluster: None, ..leaving }, Drain::Done),
            ("too late", Leaving { since: DEADLINE, ..leaving }, Drain::Done),
            ("long ago", Leaving { since: Duration::from_secs(99), ..leaving }, Drain::Done),
        ] {
            assert_eq!(of(&leaving), expected, "{what}");
        }
    }
}
