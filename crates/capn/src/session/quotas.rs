//! How much of Cluster API a namespace of the plane may hold. Those who are in `system:masters` may go beyond.

use capi_api::{addons, core};
use kube_plane::Quota;

/// Machines of a namespace, where nobody says another number.
pub const MACHINES: usize = 1_000;
/// Clusters of a namespace. Each is watched, and looked at again and again.
const CLUSTERS: usize = 200;
/// Sets, deployments, health checks, drain rules and resource sets of a namespace, of each.
const SETS: usize = 500;

/// The quotas of a plane where a namespace may hold so many machines.
pub(super) fn quotas(machines: usize) -> Vec<Quota> {
    let quota_of = |plural: &str, group: &str, most, hint: Option<&str>| Quota {
        resource: format!("{plural}.{group}"),
        most,
        hint: hint.map(str::to_owned),
    };
    let quota = |plural, most, hint| quota_of(plural, core::GROUP, most, hint);
    let raise = "or ask whoever runs capn serve to raise --machines-per-namespace";
    vec![
        quota("machines", machines, Some(raise)),
        quota("clusters", CLUSTERS, None),
        quota("machinesets", SETS, None),
        quota("machinedeployments", SETS, None),
        quota("machinehealthchecks", SETS, None),
        quota("machinedrainrules", SETS, None),
        quota_of("clusterresourcesets", addons::GROUP, SETS, None),
        quota_of("clusterresourcesetbindings", addons::GROUP, SETS, None),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::embedded::definitions;
    use super::*;

    #[test]
    fn each_quota_is_of_a_kind_that_there_is() {
        let kinds: Vec<String> =
            definitions().into_iter().filter_map(|definition| definition.metadata.name).collect();
        for quota in quotas(MACHINES) {
            assert!(kinds.contains(&quota.resource), "{}", quota.resource);
        }
    }
}
