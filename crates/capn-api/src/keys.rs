//! Labels, annotations, finalizers and instance config keys.

/// Finalizer of LXCClusters.
pub const CLUSTER_FINALIZER: &str = "lxccluster.infrastructure.cluster.x-k8s.io";
/// Finalizer of LXCMachines.
pub const MACHINE_FINALIZER: &str = "lxcmachine.infrastructure.cluster.x-k8s.io";
/// Finalizer of LXCMachinePools.
pub const MACHINE_POOL_FINALIZER: &str = "lxcmachinepool.infrastructure.cluster.x-k8s.io";

/// Label of a Cluster whose pod network capn manages. The values are `bridge` and `flannel`.
pub const CNI_LABEL: &str = "capn.cluster.x-k8s.io/cni";
/// Value of [`CNI_LABEL`] for the standard bridge plugins and routes between nodes.
pub const CNI_BRIDGE: &str = "bridge";
/// Value of [`CNI_LABEL`] for flannel with vxlan.
pub const CNI_FLANNEL: &str = "flannel";
/// Annotation of an LXCMachine in a pool: the Kubernetes version for which it was created.
pub const POOL_VERSION_ANNOTATION: &str = "capn.cluster.x-k8s.io/pool-version";
/// Annotation of an LXCMachine in a pool: name of the bootstrap Secret for which it was created.
pub const POOL_BOOTSTRAP_ANNOTATION: &str = "capn.cluster.x-k8s.io/pool-bootstrap";
/// Annotation of an LXCMachine in a pool: the failure domain for which it was created.
pub const POOL_FAILURE_DOMAIN_ANNOTATION: &str = "capn.cluster.x-k8s.io/pool-failure-domain";
/// Annotation of an LXCMachine: hash of the last pod network configuration of its instance.
pub const POD_NETWORK_ANNOTATION: &str = "capn.cluster.x-k8s.io/pod-network";
/// Annotation of an LXCCluster or LXCMachine: if `true`, deletion leaves the instances behind and
/// needs neither server nor Secret. For servers that are permanently gone.
pub const ORPHAN_INSTANCES_ANNOTATION: &str = "capn.cluster.x-k8s.io/orphan-instances";
/// Annotation of an LXCCluster or LXCMachine: what happens to a provisioned instance that stopped,
/// `restart` (the default) or `report`.
pub const STOPPED_POLICY_ANNOTATION: &str = "capn.cluster.x-k8s.io/when-stopped";
/// Annotation of a Cluster that `capn stop` has stopped and paused: `paused` if it was paused
/// before, so that `capn start` leaves it paused, or else `running`. During the operation,
/// `stopping` or `starting` is appended.
pub const STOPPED_ANNOTATION: &str = "capn.cluster.x-k8s.io/stopped";
/// Annotation of an LXCMachine that is being deleted: the load balancer sends no clients to it any
/// longer. Written by the LXCCluster reconciler.
pub const DRAINED_ANNOTATION: &str = "capn.cluster.x-k8s.io/drained";
/// Annotation of an LXCMachine, or of an LXCCluster for all its machines: shutdown deadline of an
/// instance that is being deleted (`45s`, `2m`; `0`: by force at once). Default: 30 s.
pub const STOP_DEADLINE_ANNOTATION: &str = "capn.cluster.x-k8s.io/stop-deadline";
/// Annotation of an LXCCluster: the image servers of its instances, separated by commas. `URL`
/// replaces the server of default images and of the prefix `capi`; `PREFIX=URL` adds a prefix.
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
/// Instance config key: hash of the last applied configuration of a load balancer.
pub const INSTANCE_CONFIG_HASH: &str = "user.capn.haproxy-hash";
/// Instance config key: why the host must load kernel modules.
pub const INSTANCE_MODULES: &str = "user.capn.kernel-modules";
/// Prefix of every instance config key that capn defines.
pub const INSTANCE_CAPN_PREFIX: &str = "user.capn.";

/// Prefix of the names of networks that capn creates. They are network interfaces of the host, so
/// their names have at most 15 characters.
pub const NETWORK_PREFIX: &str = "capn-";

/// Value of [`INSTANCE_CLUSTER_ROLE`] for a control plane.
pub const ROLE_CONTROL_PLANE: &str = "control-plane";
/// Value of [`INSTANCE_CLUSTER_ROLE`] for a worker.
pub const ROLE_WORKER: &str = "worker";
/// Value of [`INSTANCE_CLUSTER_ROLE`] for a load balancer.
pub const ROLE_LOAD_BALANCER: &str = "loadbalancer";
/// Value of [`INSTANCE_CLUSTER_ROLE`] for the network of a cluster.
pub const ROLE_NETWORK: &str = "network";
