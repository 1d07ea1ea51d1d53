//! Sets that are affected by an event.

use capi_api::addons::ResourceKind;
use capi_api::{Cluster, ClusterResourceSet, conditions};
use capn_controller::watch::matching;
use kube::Resource as _;
use kube::api::ObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::objects::selects;

/// Returns the sets that select a cluster or that report its state.
pub(super) fn of_cluster(
    store: &Store<ClusterResourceSet>,
    cluster: &Cluster,
) -> Vec<ObjectRef<ClusterResourceSet>> {
    matching(store, |set| concerns(set, cluster))
}

fn concerns(set: &ClusterResourceSet, cluster: &Cluster) -> bool {
    let list = set.status.as_ref().and_then(|status| status.conditions.as_ref());
    set.metadata.namespace == cluster.metadata.namespace
        && (selects(&set.spec.cluster_selector, cluster.meta())
            // The set may have selected this cluster and wait for it.
            || !conditions::is_true(list, conditions::RESOURCES_APPLIED))
}

/// Returns the sets that list a Secret or ConfigMap.
pub(super) fn of_resource(
    store: &Store<ClusterResourceSet>,
    kind: ResourceKind,
    meta: &ObjectMeta,
) -> Vec<ObjectRef<ClusterResourceSet>> {
    matching(store, |set| names(set, kind, meta))
}

fn names(set: &ClusterResourceSet, kind: ResourceKind, meta: &ObjectMeta) -> bool {
    set.metadata.namespace == meta.namespace
        && set
            .spec
            .resources
            .iter()
            .any(|named| named.kind == kind && meta.name.as_deref() == Some(named.name.as_str()))
}
