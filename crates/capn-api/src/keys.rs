//! Labels, annotations, finalizers and instance config keys.

/// Finalizer of LXCClusters.
pub const CLUSTER_FINALIZER: &str = "lxccluster.infrastructure.cluster.x-k8s.io";
/// Finalizer of LXCMachines.
pub const MACHINE_FINALIZER: &str = "lxcmachine.infrastructure.cluster.x-k8s.io";

/// Label of a Cluster whose pod network capn keeps; the values are `bridge` and
/// `flannel`.
pub const CNI_LABEL: &str = "capn.cluster.x-k8s.io/cni";
/// Value of [`CNI_LABEL`] for the standard bridge plugins and routes between nodes.
pub const CNI_BRIDGE: &str = "bridge";
/// Value of [`CNI_LABEL`] for flannel with vxlan.
pub const CNI_FLANNEL: &str = "flannel";
/// Annotation of an LXCMachine: mark of the pod network that its instance was given last.
pub const POD_NETWORK_ANNOTATION: &str = "capn.cluster.x-k8s.io/pod-network";
/// Annotation of an LXCCluster or LXCMachine: with `true`, deletion leaves the instances behind
/// and needs neither server nor Secret. For servers that are gone for good.
pub const ORPHAN_INSTANCES_ANNOTATION: &str = "capn.cluster.x-k8s.io/orphan-instances";
/// Annotation of an LXCCluster or LXCMachine: what happens to a provisioned instance that
/// stopped, `restart` (the default) or `report`.
pub const STOPPED_POLICY_ANNOTATION: &str = "capn.cluster.x-k8s.io/when-stopped";
/// Annotation of a Cluster that `capn stop` stopped, which is paused as long: `paused` when it was paused
/// before and `capn start` leaves it so, else `running`. While that is under way followed by `stopping` or
/// `starting`.
pub const STOPPED_ANNOTATION: &str = "capn.cluster.x-k8s.io/stopped";
/// Annotation of an LXCMachine that is being deleted: the load balancer sends no client to it any
/// more. Written by the reconciler of LXCClusters.
pub const DRAINED_ANNOTATION: &str = "capn.cluster.x-k8s.io/drained";
/// Annotation of an LXCMachine, or of an LXCCluster for all of its machines: how long an instance
/// that is deleted may take to stop by itself (`45s`, `2m`; `0`: by force at once). Left out: 30 s.
pub const STOP_DEADLINE_ANNOTATION: &str = "capn.cluster.x-k8s.io/stop-deadline";
/// Annotation of an LXCCluster: the image servers its instances come from, with commas between;
/// `URL` is where default images and the prefix `capi` lead, `PREFIX=URL` adds a prefix.
pub const IMAGE_SERVERS_ANNOTATION: &str = "capn.cluster.x-k8s.io/image-servers";

/// Instance config key: name of the Cluster.
pub const INSTANCE_CLUSTER_NAME: &str = "user.cluster-name";
/// Instance config key: namespace of the Cluster.
pub const INSTANCE_CLUSTER_NAMESPACE: &str = "user.cluster-namespace";
/// Instance config key: name of the Machine.
pub const INSTANCE_MACHINE_NAME: &str = "user.machine-name";
/// Instance config key: `control-plane`, `worker` or `loadbalancer`.
pub const INSTANCE_CLUSTER_ROLE: &str = "user.cluster-role";
/// Instance config key: UID of the LXCMachine or LXCCluster.
pub const INSTANCE_OWNER_UID: &str = "user.capn.owner-uid";
/// Instance config key: `namespace/name` of the LXCMachine or LXCCluster.
pub const INSTANCE_OWNER: &str = "user.capn.owner";
/// Instance config key: hash of the configuration that was last given to a load balancer.
pub const INSTANCE_CONFIG_HASH: &str = "user.capn.haproxy-hash";
/// Instance config key: why kernel modules were left to the host.
pub const INSTANCE_MODULES: &str = "user.capn.kernel-modules";
/// Prefix of every instance config key that capn writes for itself.
pub const INSTANCE_CAPN_PREFIX: &str = "user.capn.";

/// How the names of networks begin that capn makes. They are interfaces of the host, whose names have
/// at most 15 characters.
pub const NETWORK_PREFIX: &str = "capn-";

/// Value of [`INSTANCE_CLUSTER_ROLE`] for a control plane.
pub const ROLE_CONTROL_PLANE: &str = "control-plane";
/// Value of [`INSTANCE_CLUSTER_ROLE`] for a worker.
pub const ROLE_WORKER: &str = "worker";
/// Value of [`INSTANCE_CLUSTER_ROLE`] for a load balancer.
pub const ROLE_LOAD_BALANCER: &str = "loadbalancer";
/// Value of [`INSTANCE_CLUSTER_ROLE`] for the network of a cluster.
pub const ROLE_NETWORK: &str = "network";
