//! Decides what of a set is applied to which cluster. Pure.

use capi_api::addons::{MOST, ResourceBinding, ResourceRef, ResourceSetStrategy};
use capi_api::conditions::{self, Status, reason};
use capi_api::{Cluster, ClusterResourceSet, ClusterResourceSetBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};

use super::observe::{Found, Observed, Target};
use crate::objects::is_paused;

/// What is to be done for a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Resources that get the set as an owner.
    pub(super) own: Vec<Own>,
    /// Resources that are applied to no cluster.
    pub(super) unusable: Vec<(ResourceRef, Unusable)>,
    /// Clusters to which something is missing.
    pub(super) clusters: Vec<ClusterPlan>,
}

/// A resource, and all its owners with the set among them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Own {
    pub(super) resource: ResourceRef,
    pub(super) owners: Vec<OwnerReference>,
    /// The version of the resource that the owners are from.
    pub(super) version: Option<String>,
}

/// Why a resource is applied to no cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    Missing,
    WrongType,
    Empty,
}

/// What is missing in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClusterPlan {
    /// Name of the cluster.
    pub(super) cluster: String,
    /// Resources to apply, in their order.
    pub(super) apply: Vec<ResourceRef>,
    /// What has to happen before.
    pub(super) waits: Option<WaitingOn>,
}

/// What a cluster has to have before anything is applied to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitingOn {
    /// It is to go on.
    Resumption,
    /// Its control plane is to take requests.
    ControlPlane,
    /// Its API server is to answer.
    Connection,
    /// Another set has to leave it.
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
            Self::Connection => "its API server cannot be reached",
            Self::Room => {
                "it has 100 ClusterResourceSets, which is the most that a cluster may have"
            }
        }
    }
}

/// The next step for a set.
pub(super) fn plan(set: &ClusterResourceSet, seen: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut usable = Vec::new();
    for (resource, found) in &seen.resources {
        let mut unusable = |why| plan.unusable.push((resource.clone(), why));
        match found {
            Found::Missing => unusable(Unusable::Missing),
            Found::WrongType => unusable(Unusable::WrongType),
            Found::There { hash, owners } => {
                match hash {
                    Some(hash) => usable.push((resource, hash.as_str())),
                    None => unusable(Unusable::Empty),
                }
                if let Some((owners, version)) = owners.clone() {
                    plan.own.push(Own { resource: resource.clone(), owners, version });
                }
            }
        }
    }
    let strategy = set.spec.strategy.unwrap_or_default();
    plan.clusters = seen
        .clusters
        .iter()
        .filter_map(|target| of_cluster(&set.name_any(), strategy, &usable, target))
        .collect();
    plan
}

/// What is missing in a cluster, if anything is.
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
        // A set may name a resource twice.
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

/// What a binding says of the resources of a set.
fn applied<'a>(binding: &'a ClusterResourceSetBinding, set: &str) -> Vec<&'a ResourceBinding> {
    let sets = binding.spec.bindings.iter().flatten();
    sets.filter(|entry| entry.cluster_resource_set_name == set)
        .flat_map(|entry| entry.resources.iter().flatten())
        .collect()
}

/// Whether a resource is to be applied, judged by what is known of it.
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
