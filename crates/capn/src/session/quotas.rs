//! Limits of Cluster API objects per namespace. Members of `system:masters` are exempt.

use capi_api::{addons, core};
use kube_plane::Quota;

/// Limits of a namespace, for everybody except operators.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceLimits {
    /// Maximum number of machines.
    pub machines: usize,
    /// Maximum total size of objects as JSON, in bytes.
    pub bytes: usize,
}

impl Default for NamespaceLimits {
    fn default() -> Self {
        Self { machines: 1_000, bytes: kube_plane::NAMESPACE_BYTES }
    }
}

/// Maximum number of clusters. Each is watched and reconciled periodically.
const CLUSTERS: usize = 200;
/// Maximum number of MachineSets, MachineDeployments, MachinePools, MachineHealthChecks,
/// MachineDrainRules and ClusterResourceSets, each.
const SETS: usize = 500;

/// Quotas of a plane with these limits.
pub(super) fn quotas(machines: usize) -> Vec<Quota> {
    let quota_of = |plural: &str, group: &str, most, hint: Option<&str>| Quota {
        resource: format!("{plural}.{group}"),
        most,
        hint: hint.map(str::to_owned),
    };
    let quota = |plural, most, hint| quota_of(plural, core::GROUP, most, hint);
    let raise = "or ask the operator of capn serve to raise --machines-per-namespace";
    vec![
        quota("machines", machines, Some(raise)),
        quota("clusters", CLUSTERS, None),
        quota("machinesets", SETS, None),
        quota("machinedeployments", SETS, None),
        quota("machinepools", SETS, None),
        quota("machinepools", SETS, None),
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
    fn each_quota_names_an_existing_kind() {
        let kinds: Vec<String> =
            definitions().into_iter().filter_map(|definition| definition.metadata.name).collect();
        for quota in quotas(NamespaceLimits::default().machines) {
            assert!(kinds.contains(&quota.resource), "{}", quota.resource);
        }
    }
}
