//! Counts of instances and backends, computed from the objects when the metrics are read.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use capi_api::{conditions, labels};
use capn_api::{
    LXCCluster, LXCMachine, LoadBalancerKind,
    conditions::{self as kinds, reasons},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::reflector::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::references::{label, name, namespace};

/// States of an instance. Each has a series even if no instance is in it.
const STATES: [&str; 9] = [
    "waiting", "creating", "starting", "running", "stopped", "missing", "failed", "unknown",
    "deleting",
];
const BALANCER: &str = "load-balancer";
const CONTROL_PLANE: &str = "control-plane";
const WORKER: &str = "worker";

/// The objects of a provider. They are counted when the metrics are read, so that nothing is left
/// of deleted ones.
#[derive(Clone, Default)]
pub(crate) struct Objects(Arc<Mutex<Sources>>);

#[derive(Clone, Default)]
struct Sources {
    machines: Option<Store<LXCMachine>>,
    clusters: Option<Store<LXCCluster>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceLabels {
    role: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ClusterLabels {
    namespace: String,
    cluster: String,
}

impl Objects {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let objects = Self::default();
        registry.register_collector(Box::new(objects.clone()));
        objects
    }

    /// Adds a store of machines to count.
    pub(crate) fn machines(&self, store: Store<LXCMachine>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).machines = Some(store);
    }

    /// Adds a store of clusters whose load balancers to count.
    pub(crate) fn clusters(&self, store: Store<LXCCluster>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clusters = Some(store);
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let machines = sources.machines.map(|store| store.state()).unwrap_or_default();
        let clusters = sources.clusters.map(|store| store.state()).unwrap_or_default();
        let instances = Family::<InstanceLabels, Gauge>::default();
        for role in [BALANCER, CONTROL_PLANE, WORKER] {
            for state in STATES {
                instances.get_or_create(&InstanceLabels { role, state }).set(0);
            }
        }
        for machine in &machines {
            let (role, state) = (role(machine), machine_state(machine));
            instances.get_or_create(&InstanceLabels { role, state }).inc();
        }
        for cluster in &clusters {
            if let Some(state) = balancer_state(cluster) {
                instances.get_or_create(&InstanceLabels { role: BALANCER, state }).inc();
            }
        }
        let help = "Instances of machines and load balancers, by last observed state";
        let metric = encoder.encode_descriptor("instances", help, None, MetricType::Gauge)?;
        instances.encode(metric)?;

        let backends = Family::<ClusterLabels, Gauge>::default();
        for (labels, count) in backends_of(&clusters, &machines) {
            backends.get_or_create(&labels).set(count);
        }
        let help = "Control planes to which a load balancer forwards";
        let backends_name = "load_balancer_backends";
        let metric = encoder.encode_descriptor(backends_name, help, None, MetricType::Gauge)?;
        backends.encode(metric)
    }
}

fn role(machine: &LXCMachine) -> &'static str {
    match label(&machine.metadata, labels::CONTROL_PLANE) {
        Some(_) => CONTROL_PLANE,
        None => WORKER,
    }
}

fn machine_state(machine: &LXCMachine) -> &'static str {
    if machine.metadata.deletion_timestamp.is_some() {
        return "deleting";
    }
    let known = machine.status.as_ref().map(|status| &status.conditions);
    match conditions::get(known, kinds::INSTANCE_PROVISIONED) {
        Some(found) => state(found),
        None => "waiting",
    }
}

/// Returns the state of a load balancer instance. `None` if the load balancer is not an instance.
fn balancer_state(cluster: &LXCCluster) -> Option<&'static str> {
    let kind = cluster.spec.load_balancer.kind();
    if !matches!(kind, Some(LoadBalancerKind::Lxc(_) | LoadBalancerKind::Oci(_))) {
        return None;
    }
    if cluster.metadata.deletion_timestamp.is_some() {
        return Some("deleting");
    }
    let known = cluster.status.as_ref().map(|status| &status.conditions);
    Some(match conditions::get(known, kinds::LOAD_BALANCER_AVAILABLE) {
        Some(found) => state(found),
        None => "waiting",
    })
}

fn state(condition: &Condition) -> &'static str {
    if condition.status == "True" {
        return "running";
    }
    if condition.status == "Unknown" {
        return "unknown";
    }
    match condition.reason.as_str() {
        reasons::CREATING_INSTANCE | reasons::CREATING_LOAD_BALANCER => "creating",
        reasons::STARTING_INSTANCE
        | reasons::WAITING_FOR_ADDRESS
        | reasons::WAITING_FOR_LOAD_BALANCER
        | reasons::WAITING_FOR_LOAD_BALANCER_ADDRESS => "starting",
        reasons::INSTANCE_STOPPED => "stopped",
        reasons::INSTANCE_DELETED => "missing",
        reasons::ADDRESS_MISSING
        | reasons::INSTANCE_PROVISIONING_FAILED
        | reasons::INSTANCE_PROVISIONING_ABORTED
        | reasons::LOAD_BALANCER_PROVISIONING_FAILED
        | reasons::LOAD_BALANCER_PROVISIONING_ABORTED => "failed",
        reasons::SERVER_UNAVAILABLE | reasons::IDENTITY_UNAVAILABLE => "unknown",
        _ => "waiting",
    }
}

fn backends_of(
    clusters: &[Arc<LXCCluster>],
    machines: &[Arc<LXCMachine>],
) -> BTreeMap<ClusterLabels, i64> {
    let series = |namespace: &str, cluster: &str| ClusterLabels {
        namespace: namespace.to_owned(),
        cluster: cluster.to_owned(),
    };
    let mut counts: BTreeMap<_, _> = clusters
        .iter()
        .map(|cluster| {
            let meta = &cluster.metadata;
            let cluster = label(meta, labels::CLUSTER_NAME).unwrap_or(name(meta));
            (series(namespace(meta), cluster), 0)
        })
        .collect();
    for machine in machines {
        let meta = &machine.metadata;
        let configured = machine.status.as_ref().is_some_and(|it| it.load_balancer_configured);
        if !configured || meta.deletion_timestamp.is_some() {
            continue;
        }
        let cluster = label(meta, labels::CLUSTER_NAME).unwrap_or_default();
        if let Some(count) = counts.get_mut(&series(namespace(meta), cluster)) {
            *count += 1;
        }
    }
    counts
}
