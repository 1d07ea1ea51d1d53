//! Decides which resources may be deleted, and why others are kept. No I/O.

use capn_api::keys;

use super::inventory::ServerResource;
use super::state_dirs::StateDirOwners;

/// Namespace and name of a cluster, from resource keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterKey {
    /// Namespace of the Cluster.
    pub(crate) namespace: String,
    /// Name of the Cluster.
    pub(crate) name: String,
}

/// A resource whose owner is in no state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    /// Its cluster.
    pub(crate) cluster_key: ClusterKey,
    /// UID of its owner.
    pub(crate) owner_uid: String,
    /// The thing.
    pub(crate) resource: ServerResource,
}

/// The decisions for the resources of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Resources to delete, in this order.
    pub(crate) orphans: Vec<Orphan>,
    /// Resources to keep, each with the reason.
    pub(crate) kept: Vec<(ServerResource, String)>,
}

/// Decides for each resource of all clusters, or of one.
pub(crate) fn plan(
    resources: Vec<ServerResource>,
    held: &[StateDirOwners],
    only: Option<&ClusterKey>,
) -> Plan {
    let mut plan = Plan::default();
    for resource in resources {
        let cluster_key = cluster_key(&resource);
        if only.is_some_and(|only| *only != cluster_key) {
            continue;
        }
        match judge(&resource, &cluster_key, held) {
            Ok(owner_uid) => plan.orphans.push(Orphan { cluster_key, owner_uid, resource }),
            Err(why) => plan.kept.push((resource, why)),
        }
    }
    plan
}

fn cluster_key(resource: &ServerResource) -> ClusterKey {
    let of = |key| resource.key(key).unwrap_or_default().to_owned();
    ClusterKey {
        namespace: of(keys::INSTANCE_CLUSTER_NAMESPACE),
        name: of(keys::INSTANCE_CLUSTER_NAME),
    }
}

/// Returns the UID of an unknown owner, or the reason to keep the resource.
fn judge(
    resource: &ServerResource,
    cluster_key: &ClusterKey,
    held: &[StateDirOwners],
) -> Result<String, String> {
    let Some(uid) = resource.key(keys::INSTANCE_OWNER_UID).filter(|uid| !uid.is_empty()) else {
        return Err("it was not created by capn".to_owned());
    };
    let owner = resource.key(keys::INSTANCE_OWNER);
    let is_of_the_namespace = |owner: &str| {
        owner.split_once('/').is_some_and(|(namespace, _)| namespace == cluster_key.namespace)
    };
    if let Some(owner) = owner.filter(|owner| !is_of_the_namespace(owner)) {
        return Err(format!("it belongs to {owner} in another namespace"));
    }
    // An object moved from another management cluster has a new UID until its instance is adopted.
    let has = |held: &&StateDirOwners| {
        held.owners.uids.contains(uid) || owner.is_some_and(|it| held.owners.names.contains(it))
    };
    match held.iter().find(has) {
        Some(held) => Err(format!("its owner is in state directory {}", held.dir)),
        None => Ok(uid.to_owned()),
    }
}
