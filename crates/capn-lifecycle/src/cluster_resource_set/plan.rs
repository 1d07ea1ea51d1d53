//! Decides which resources of a set are applied to which cluster. Pure.

use capi_api::addons::{MOST, ResourceBinding, ResourceRef, ResourceSetStrategy};
use capi_api::conditions::{self, Status, reason};
use capi_api::{Cluster, ClusterResourceSet, ClusterResourceSetBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};

use super::observe::{Found, Observed, Target};
use crate::objects::is_paused;

/// The action for a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Resources to which the set must be added as an owner.
    pub(super) own: Vec<OwnerUpdate>,
    /// Resources that are applied to no cluster.
    pub(super) unusable: Vec<(ResourceRef, InvalidResource)>,
    /// Clusters in which something is missing.
    pub(super) clusters: Vec<ClusterPlan>,
}

/// A resource with all its owners, including the set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OwnerUpdate {
    pub(super) resource: ResourceRef,
    pub(super) owners: Vec<OwnerReference>,
    /// The resource version on which the owners are based.
    pub(super) version: Option<String>,
}

/// The reason a resource is applied to no cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidResource {
    Missing,
    WrongType,
    Empty,
}

/// Missing resources of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClusterPlan {
    /// Name of the cluster.
    pub(super) cluster: String,
    /// Resources to apply, in order.
    pub(super) apply: Vec<ResourceRef>,
    /// The reason they cannot be applied yet.
    pub(super) waits: Option<WaitingOn>,
}

/// The reason a cluster waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitingOn {
    /// The cluster is paused.
    Resumption,
    /// The control plane is not initialized.
    ControlPlane,
    /// The API server is not reachable.
    Connection,
    /// The binding has reached the maximum number of sets.
    Room,
}

impl WaitingOn {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Resumption => reason::PAUSED,
            Self::ControlPlane => reason::WAITING_FOR_CONTROL_PLANE_INITIALIZED,
            Self::Connection => reason::CONNECTION_DOWN,
            Self::Room => super::report::NOT_APPLIED,
        }
    }

    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Resumption => "it is paused",
            Self::ControlPlane => "its control plane is not initialized yet",
            Self::Connection => "its API server is not reachable",
            Self::Room => "it has 100 ClusterResourceSets, the maximum for a cluster",
        }
    }
}

/// Returns the next step for a set.
pub(super) fn plan(set: &ClusterResourceSet, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut usable = Vec::new();
    for (resource, found) in &observed.resources {
        let mut unusable = |why| plan.unusable.push((resource.clone(), why));
        match found {
            Found::Missing => unusable(InvalidResource::Missing),
            Found::WrongType => unusable(InvalidResource::WrongType),
            Found::There { hash, owners } => {
                match hash {
                    Some(hash) => usable.push((resource, hash.as_str())),
                    None => unusable(InvalidResource::Empty),
                }
                if let Some((owners, version)) = owners.clone() {
                    plan.own.push(OwnerUpdate { resource: resource.clone(), owners, version });
                }
            }
        }
    }
    let strategy = set.spec.strategy.unwrap_or_default();
    plan.clusters = observed
        .clusters
        .iter()
        .filter_map(|target| of_cluster(&set.name_any(), strategy, &usable, target))
        .collect();
    plan
}

/// Returns what is missing in a cluster, if anything.
fn of_cluster(
    set: &str,
    strategy: ResourceSetStrategy,
    usable: &[(&ResourceRef, &str)],
    target: &Target,
) -> Option<ClusterPlan> {
    let known = target.binding.as_ref().map(|binding| applied(binding, set)).unwrap_or_default();
    let mut apply: Vec<ResourceRef> = Vec::new();
    for (resource, hash) in usable {
        let entry = known.iter().find(|entry| entry.is_of(resource));
        // A set may list a resource twice.
        if is_due(strategy, entry.copied(), hash) && !apply.contains(resource) {
            apply.push((*resource).clone());
        }
    }
    (!apply.is_empty()).then(|| ClusterPlan {
        cluster: target.cluster.name_any(),
        waits: waits(&target.cluster, target.binding.as_ref(), set),
        apply,
    })
}

/// Returns the entries of a set in a binding.
fn applied<'a>(binding: &'a ClusterResourceSetBinding, set: &str) -> Vec<&'a ResourceBinding> {
    let sets = binding.spec.bindings.iter().flatten();
    sets.filter(|entry| entry.cluster_resource_set_name == set)
        .flat_map(|entry| entry.resources.iter().flatten())
        .collect()
}

/// Returns whether a resource must be applied, according to its recorded state.
fn is_due(strategy: ResourceSetStrategy, entry: Option<&ResourceBinding>, hash: &str) -> bool {
    let Some(entry) = entry.filter(|entry| entry.applied) else { return true };
    match strategy {
        ResourceSetStrategy::ApplyOnce => false,
        ResourceSetStrategy::Reconcile => entry.hash.as_deref() != Some(hash),
    }
}

fn waits(
    cluster: &Cluster,
    binding: Option<&ClusterResourceSetBinding>,
    set: &str,
) -> Option<WaitingOn> {
    if is_paused(Some(cluster), cluster.meta()) {
        return Some(WaitingOn::Resumption);
    }
    if !cluster.control_plane_initialized() {
        return Some(WaitingOn::ControlPlane);
    }
    let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
    if conditions::status(list, conditions::REMOTE_CONNECTION_PROBE) == Some(Status::False) {
        return Some(WaitingOn::Connection);
    }
    let sets = binding.and_then(|binding| binding.spec.bindings.as_ref())?;
    let has_place =
        sets.len() < MOST || sets.iter().any(|entry| entry.cluster_resource_set_name == set);
    (!has_place).then_some(WaitingOn::Room)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
