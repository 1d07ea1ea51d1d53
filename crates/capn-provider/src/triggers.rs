//! Triggers of reconciles besides the object itself: other objects, and events of servers.

use std::sync::Arc;

use capi_api::{
    core::{Cluster, Machine, MachinePool},
    labels,
};
use capn_api::{LXCCluster, LXCMachine};
use capn_plan::InstanceName;
use futures::{Stream, StreamExt as _, stream};
use kube::{
    Resource,
    api::ObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    references::{label, name, namespace},
    remote::{RemoteKey, Signal},
    wake_filter::Wake,
};

/// Returns the LXCMachine that a Machine refers to.
pub(crate) fn infrastructure_of_machine(machine: &Machine) -> Option<ObjectRef<LXCMachine>> {
    let infra = &machine.spec.infrastructure_ref;
    (infra.kind == "LXCMachine")
        .then(|| ObjectRef::new(&infra.name).within(namespace(&machine.metadata)))
}

/// Returns the LXCMachines of a MachinePool.
pub(crate) fn in_pool(store: &Store<LXCMachine>, pool: &MachinePool) -> Vec<ObjectRef<LXCMachine>> {
    let (within, pool) = (namespace(&pool.metadata), name(&pool.metadata));
    all(store, |machine| {
        namespace(&machine.metadata) == within
            && label(&machine.metadata, labels::POOL_NAME) == Some(pool)
    })
}

/// Returns the objects that belong to a Cluster.
pub(crate) fn in_cluster<K>(store: &Store<K>, cluster: &ObjectMeta) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    labelled(store, namespace(cluster), name(cluster))
}

/// Returns the objects that belong to the same Cluster as another object.
pub(crate) fn in_same_cluster<K>(store: &Store<K>, other: &ObjectMeta) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    match label(other, labels::CLUSTER_NAME) {
        Some(cluster) => labelled(store, namespace(other), cluster),
        None => Vec::new(),
    }
}

/// Returns the LXCCluster that a machine affects, as a backend of its load balancer or because its
/// deletion waits for the machine. Workers only matter while the cluster is being deleted, and
/// there may be many of them.
pub(crate) fn cluster_of_machine(
    store: &Store<LXCCluster>,
    machine: &ObjectMeta,
) -> Vec<ObjectRef<LXCCluster>> {
    let is_worker = [labels::DEPLOYMENT_NAME, labels::SET_NAME, labels::POOL_NAME]
        .into_iter()
        .any(|key| label(machine, key).is_some());
    let mut found = in_same_cluster(store, machine);
    if is_worker {
        found.retain(|reference| {
            let cluster = store.get(reference);
            cluster.is_some_and(|cluster| cluster.metadata.deletion_timestamp.is_some())
        });
    }
    found
}

fn labelled<K>(store: &Store<K>, within: &str, cluster: &str) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store
        .state()
        .iter()
        .filter(|object| namespace(object.meta()) == within)
        .filter(|object| label(object.meta(), labels::CLUSTER_NAME) == Some(cluster))
        .map(|object| ObjectRef::from_obj(object.as_ref()))
        .collect()
}

/// Returns the machines whose instances changed. A change of a control plane also affects machines
/// that are created before their bootstrap data.
pub(crate) fn machines_on_servers(
    signals: Receiver<Signal>,
    store: Store<LXCMachine>,
) -> impl Stream<Item = Wake<ObjectRef<LXCMachine>>> + Send + 'static {
    references(signals, move |signal| match signal {
        Some(Signal::Instance { remote, name }) => {
            let reference = ObjectRef::new(&name).within(&remote.namespace);
            let Some(machine) = store.get(&reference) else { return Vec::new() };
            let mut found = vec![reference];
            if label(&machine.metadata, labels::CONTROL_PLANE).is_some() {
                found.extend(early(&store, &machine));
            }
            found
        }
        Some(Signal::Lost { remote }) => {
            all(&store, |machine| namespace(&machine.metadata) == remote.namespace)
        }
        None => all(&store, |_| true),
    })
}

/// Returns the machines of the same cluster that are created before their bootstrap data and do not
/// run yet.
fn early(store: &Store<LXCMachine>, control_plane: &LXCMachine) -> Vec<ObjectRef<LXCMachine>> {
    let meta = &control_plane.metadata;
    let cluster = label(meta, labels::CLUSTER_NAME);
    all(store, |machine| {
        machine.spec.create_before_bootstrap_data
            && machine.spec.provider_id.is_none()
            && namespace(&machine.metadata) == namespace(meta)
            && label(&machine.metadata, labels::CLUSTER_NAME) == cluster
    })
}

/// Returns the clusters whose load balancers changed.
pub(crate) fn clusters_on_servers(
    signals: Receiver<Signal>,
    store: Store<LXCCluster>,
) -> impl Stream<Item = Wake<ObjectRef<LXCCluster>>> + Send + 'static {
    let uses = |cluster: &LXCCluster, remote: &RemoteKey| {
        namespace(&cluster.metadata) == remote.namespace
            && cluster.spec.secret_ref.name == remote.secret
    };
    references(signals, move |signal| match signal {
        Some(Signal::Instance { remote, name: instance }) => all(&store, |cluster| {
            let meta = &cluster.metadata;
            uses(cluster, &remote)
                && InstanceName::load_balancer(name(meta), namespace(meta))
                    .is_ok_and(|balancer| balancer.as_str() == instance)
        }),
        Some(Signal::Lost { remote }) => all(&store, |cluster| uses(cluster, &remote)),
        None => all(&store, |_| true),
    })
}

fn all<K>(store: &Store<K>, wanted: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let objects: Vec<Arc<K>> = store.state();
    objects
        .iter()
        .filter(|object| wanted(object))
        .map(|object| ObjectRef::from_obj(object.as_ref()))
        .collect()
}

/// Maps signals to references. `None` stands for missed signals.
fn references<K, F>(
    signals: Receiver<Signal>,
    lead: F,
) -> impl Stream<Item = Wake<ObjectRef<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    F: Fn(Option<Signal>) -> Vec<ObjectRef<K>> + Send + 'static,
{
    stream::unfold(signals, |mut signals| async move {
        match signals.recv().await {
            Ok(signal) => Some((Some(signal), signals)),
            Err(RecvError::Lagged(_)) => Some((None, signals)),
            Err(RecvError::Closed) => None,
        }
    })
    .flat_map(move |signal| {
        let wake = match &signal {
            Some(Signal::Instance { .. }) => Wake::Instance,
            Some(Signal::Lost { .. }) | None => Wake::Server,
        };
        stream::iter(lead(signal).into_iter().map(wake))
    })
}

/// Returns the Cluster to which an object belongs, if it is in the store.
pub(crate) fn cluster_of(
    store: &Store<Cluster>,
    object: &ObjectMeta,
) -> Option<ObjectRef<Cluster>> {
    let cluster = label(object, labels::CLUSTER_NAME)?;
    let reference = ObjectRef::new(cluster).within(namespace(object));
    store.get(&reference).map(|_| reference)
}
