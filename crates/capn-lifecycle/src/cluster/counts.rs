//! Machine counts of a cluster. Pure.

use std::collections::BTreeMap;

use capi_api::core::{ReplicaCounts, StatusVersion};
use capi_api::{Cluster, Machine, conditions, refs};
use kube::Resource;

use super::observe::Observed;

/// Returns the counts of the control plane, from the control plane object or else from its
/// machines.
pub(super) fn control_plane(cluster: &Cluster, observed: &Observed) -> ReplicaCounts {
    if cluster.spec.control_plane_ref.is_none() && cluster.spec.topology.is_none() {
        return of_machines(observed.descendants.control_plane_machines());
    }
    let Some(view) = observed.control_plane.view() else { return ReplicaCounts::default() };
    ReplicaCounts {
        desired_replicas: view.desired_replicas(),
        replicas: view.status_count("replicas"),
        ready_replicas: view.status_count("readyReplicas"),
        available_replicas: view.status_count("availableReplicas"),
        up_to_date_replicas: view.status_count("upToDateReplicas"),
        versions: view.at("/status/versions"),
        upgrade_plan: None,
    }
}

/// Returns the counts of the workers: deployments, pools, standalone sets and standalone machines.
pub(super) fn workers(observed: &Observed) -> ReplicaCounts {
    let below = &observed.descendants;
    let mut sum = Sum::default();
    for deployment in &below.machine_deployments {
        let status = deployment.status.clone().unwrap_or_default();
        sum.add(&ReplicaCounts {
            desired_replicas: deployment.spec.replicas,
            replicas: status.replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            up_to_date_replicas: status.up_to_date_replicas,
            versions: status.versions,
            upgrade_plan: None,
        });
    }
    for pool in &below.machine_pools {
        let status = pool.status.clone().unwrap_or_default();
        sum.add(&ReplicaCounts {
            desired_replicas: pool.spec.replicas,
            replicas: status.replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            up_to_date_replicas: status.up_to_date_replicas,
            versions: status.versions,
            upgrade_plan: None,
        });
    }
    for set in below.standalone_sets() {
        let status = set.status.clone().unwrap_or_default();
        sum.add(&ReplicaCounts {
            desired_replicas: set.spec.replicas,
            replicas: status.replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            up_to_date_replicas: status.up_to_date_replicas,
            versions: status.versions,
            upgrade_plan: None,
        });
    }
    let standalone =
        below.worker_machines().filter(|machine| refs::controller(machine.meta()).is_none());
    sum.add(&of_machines(standalone));
    sum.counts()
}

/// Counts single machines. They have no desired number, so all of them are desired.
fn of_machines<'a>(machines: impl Iterator<Item = &'a Machine>) -> ReplicaCounts {
    let mut sum = Sum::default();
    for machine in machines {
        let holds = |kind| {
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::is_true(list, kind).then_some(1)
        };
        sum.add(&ReplicaCounts {
            desired_replicas: Some(1),
            replicas: Some(1),
            ready_replicas: holds(conditions::READY),
            available_replicas: holds(conditions::AVAILABLE),
            up_to_date_replicas: holds(conditions::UP_TO_DATE),
            versions: machine
                .spec
                .version
                .clone()
                .map(|version| vec![StatusVersion { version, replicas: Some(1) }]),
            upgrade_plan: None,
        });
    }
    sum.counts()
}

/// Sum of counts. A count that no object reports stays absent.
#[derive(Default)]
struct Sum {
    counts: ReplicaCounts,
    versions: BTreeMap<String, i32>,
}

impl Sum {
    fn add(&mut self, more: &ReplicaCounts) {
        let plus = |sum: &mut Option<i32>, more: Option<i32>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0) + more);
            }
        };
        plus(&mut self.counts.desired_replicas, more.desired_replicas);
        plus(&mut self.counts.replicas, more.replicas);
        plus(&mut self.counts.ready_replicas, more.ready_replicas);
        plus(&mut self.counts.available_replicas, more.available_replicas);
        plus(&mut self.counts.up_to_date_replicas, more.up_to_date_replicas);
        for version in more.versions.iter().flatten() {
            *self.versions.entry(version.version.clone()).or_default() +=
                version.replicas.unwrap_or(1);
        }
    }

    fn counts(self) -> ReplicaCounts {
        let versions: Vec<_> = self
            .versions
            .into_iter()
            .map(|(version, replicas)| StatusVersion { version, replicas: Some(replicas) })
            .collect();
        ReplicaCounts { versions: (!versions.is_empty()).then_some(versions), ..self.counts }
    }
}
