//! Names defined by Cluster API: labels, annotations, finalizers, taints, field managers. Other
//! tools depend on them.

/// Label of every object of a cluster. The value is the name of the cluster.
pub const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
/// Label of control plane machines; the value is empty.
pub const CONTROL_PLANE: &str = "cluster.x-k8s.io/control-plane";
/// Label of machines of a control plane object. The value is the name of that object.
pub const CONTROL_PLANE_NAME: &str = "cluster.x-k8s.io/control-plane-name";
/// Label of machines that belong to a MachineDeployment.
pub const DEPLOYMENT_NAME: &str = "cluster.x-k8s.io/deployment-name";
/// Label of machines that belong to a MachineSet (see [`label_value`]).
pub const SET_NAME: &str = "cluster.x-k8s.io/set-name";
/// Label of machines that belong to a MachinePool.
pub const POOL_NAME: &str = "cluster.x-k8s.io/pool-name";
/// Label that distinguishes the MachineSets of a MachineDeployment.
pub const TEMPLATE_HASH: &str = "machine-template-hash";
/// Label of objects created by a topology.
pub const TOPOLOGY_OWNED: &str = "topology.cluster.x-k8s.io/owned";
/// Label that limits the objects a provider watches.
pub const WATCH_FILTER: &str = "cluster.x-k8s.io/watch-filter";
/// Label of a provider's components and definitions.
pub const PROVIDER: &str = "cluster.x-k8s.io/provider";
/// Label of definitions that `clusterctl` inspects.
pub const CLUSTERCTL: &str = "clusterctl.cluster.x-k8s.io";
/// Label of definitions that implement the contract. The value lists the versions.
pub const CONTRACT_V1BETA2: &str = "cluster.x-k8s.io/v1beta2";
/// Label of objects that `clusterctl move` includes although they have no owner.
pub const MOVE: &str = "clusterctl.cluster.x-k8s.io/move";
/// Label of nodes whose instance may be terminated at any time.
pub const INTERRUPTIBLE: &str = "cluster.x-k8s.io/interruptible";
/// Label of pods that a drain skips (`skip`) or waits for (`wait-completed`).
pub const POD_DRAIN: &str = "cluster.x-k8s.io/drain";

/// Annotation: the object is not reconciled, regardless of the value.
pub const PAUSED: &str = "cluster.x-k8s.io/paused";
/// Annotation: another system reconciles the object.
pub const MANAGED_BY: &str = "cluster.x-k8s.io/managed-by";
/// Annotation: the MachineSet creates no machines.
pub const DISABLE_MACHINE_CREATE: &str = "cluster.x-k8s.io/disable-machine-create";
/// Annotation: the machine is deleted first when its set is scaled down.
pub const DELETE_MACHINE: &str = "cluster.x-k8s.io/delete-machine";
/// Annotation: health checks skip the machine.
pub const SKIP_REMEDIATION: &str = "cluster.x-k8s.io/skip-remediation";
/// Annotation: the machine must be remediated.
pub const REMEDIATE_MACHINE: &str = "cluster.x-k8s.io/remediate-machine";
/// Annotation: preflight checks that a MachineSet skips before it creates a machine.
pub const SKIP_PREFLIGHT_CHECKS: &str = "machineset.cluster.x-k8s.io/skip-preflight-checks";
/// Annotation: name of the template from which the object was cloned.
pub const CLONED_FROM_NAME: &str = "cluster.x-k8s.io/cloned-from-name";
/// Annotation: `Kind.group` of the template from which the object was cloned.
pub const CLONED_FROM_GROUP_KIND: &str = "cluster.x-k8s.io/cloned-from-groupkind";
/// Annotation: the machine's node is not drained.
pub const EXCLUDE_NODE_DRAINING: &str = "machine.cluster.x-k8s.io/exclude-node-draining";
/// Annotation: the deletion does not wait for volumes of the machine's node.
pub const EXCLUDE_WAIT_FOR_VOLUME_DETACH: &str =
    "machine.cluster.x-k8s.io/exclude-wait-for-node-volume-detach";
/// Annotation: expiry of the control plane certificates of the machine (RFC 3339).
pub const CERTIFICATES_EXPIRY: &str = "machine.cluster.x-k8s.io/certificates-expiry";
/// Prefix of annotations that block a machine's deletion before its node is drained.
pub const PRE_DRAIN_HOOK_PREFIX: &str = "pre-drain.delete.hook.machine.cluster.x-k8s.io";
/// Prefix of annotations that block a machine's deletion before its instance is deleted.
pub const PRE_TERMINATE_HOOK_PREFIX: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io";
/// Annotation: revision of a MachineDeployment or MachineSet.
pub const REVISION: &str = "machinedeployment.clusters.x-k8s.io/revision";
/// Annotation: replicas of the deployment when the set was last scaled.
pub const DESIRED_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/desired-replicas";
/// Annotation: maximum replicas of the deployment (desired and surge).
pub const MAX_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/max-replicas";
/// Annotation of a MachinePool: another system manages its replicas; empty counts as `true`.
pub const REPLICAS_MANAGED_BY: &str = "cluster.x-k8s.io/replicas-managed-by";
/// Annotation: minimum size for the autoscaler.
pub const AUTOSCALER_MIN_SIZE: &str = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size";
/// Annotation: maximum size for the autoscaler.
pub const AUTOSCALER_MAX_SIZE: &str = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size";
/// Annotation of a KubeadmControlPlane, defined by capn: with `true`, its first machine is created
/// in parallel with the cluster infrastructure. For clusters without failure domains, which are
/// unknown by then.
pub const BEFORE_INFRASTRUCTURE: &str = "capn.cluster.x-k8s.io/create-before-infrastructure";
/// Annotation of a Cluster, defined by capn: `none` if its machines never become nodes.
pub const BOOTSTRAP: &str = "capn.cluster.x-k8s.io/bootstrap";
/// Value of [`BOOTSTRAP`]: machines are ready as soon as their infrastructure is.
pub const BOOTSTRAP_NONE: &str = "none";

/// Annotation of a node: namespace of its cluster.
pub const NODE_CLUSTER_NAMESPACE: &str = "cluster.x-k8s.io/cluster-namespace";
/// Annotation of a node: name of its machine.
pub const NODE_MACHINE: &str = "cluster.x-k8s.io/machine";
/// Annotation of a node: kind of its machine's controller.
pub const NODE_OWNER_KIND: &str = "cluster.x-k8s.io/owner-kind";
/// Annotation of a node: name of its machine's controller.
pub const NODE_OWNER_NAME: &str = "cluster.x-k8s.io/owner-name";
/// Annotation of a node: comma-separated labels that came from its machine.
pub const NODE_LABELS_FROM_MACHINE: &str = "cluster.x-k8s.io/labels-from-machine";
/// Annotation of a node: comma-separated annotations that came from its machine.
pub const NODE_ANNOTATIONS_FROM_MACHINE: &str = "cluster.x-k8s.io/annotations-from-machine";
/// Annotation of a node: taints managed by its machine, as comma-separated `key:effect`.
pub const NODE_TAINTS_FROM_MACHINE: &str = "cluster.x-k8s.io/taints-from-machine";
/// Taint (`NoSchedule`) of a node until it is matched with its machine.
pub const NODE_UNINITIALIZED_TAINT: &str = "node.cluster.x-k8s.io/uninitialized";
/// Taint (`PreferNoSchedule`) of nodes of an older revision.
pub const NODE_OUTDATED_REVISION_TAINT: &str = "node.cluster.x-k8s.io/outdated-revision";
/// Prefix of labels that are propagated from a machine to its node.
pub const NODE_ROLE_PREFIX: &str = "node-role.kubernetes.io";
/// Domain of labels that are propagated from a machine to its node.
pub const NODE_RESTRICTION_DOMAIN: &str = "node-restriction.kubernetes.io";
/// Domain of labels and annotations that are propagated from a machine to its node.
pub const MANAGED_NODE_DOMAIN: &str = "node.cluster.x-k8s.io";

/// Finalizer of a Cluster.
pub const CLUSTER_FINALIZER: &str = "cluster.cluster.x-k8s.io";
/// Finalizer of a Machine.
pub const MACHINE_FINALIZER: &str = "machine.cluster.x-k8s.io";
/// Finalizer of a MachineSet.
pub const MACHINE_SET_FINALIZER: &str = "cluster.x-k8s.io/machineset";
/// Finalizer of a MachineDeployment.
pub const MACHINE_DEPLOYMENT_FINALIZER: &str = "cluster.x-k8s.io/machinedeployment";
/// Finalizer of a MachinePool.
pub const MACHINE_POOL_FINALIZER: &str = "machinepool.cluster.x-k8s.io";
/// Finalizer of a KubeadmControlPlane.
pub const KUBEADM_CONTROL_PLANE_FINALIZER: &str = "kubeadm.controlplane.cluster.x-k8s.io";
/// Finalizer of a ClusterResourceSet.
pub const CLUSTER_RESOURCE_SET_FINALIZER: &str = "addons.cluster.x-k8s.io";

/// Type of the secrets that hold certificates, kubeconfigs and bootstrap data.
pub const CLUSTER_SECRET_TYPE: &str = "cluster.x-k8s.io/secret";

/// Field manager of a MachineSet for its machines.
pub const MANAGER_MACHINE_SET: &str = "capi-machineset";
/// Field manager of a MachineSet for labels and annotations of infrastructure and bootstrap
/// objects.
pub const MANAGER_MACHINE_SET_METADATA: &str = "capi-machineset-metadata";
/// Field manager of a MachineDeployment for its sets.
pub const MANAGER_MACHINE_DEPLOYMENT: &str = "capi-machinedeployment";
/// Field manager of a MachinePool for its machines.
pub const MANAGER_MACHINE_POOL: &str = "machinepool-controller";
/// Field manager of a KubeadmControlPlane for its machines.
pub const MANAGER_KUBEADM_CONTROL_PLANE: &str = "capi-kubeadmcontrolplane";
/// Field manager of a KubeadmControlPlane for propagated labels and annotations.
pub const MANAGER_KUBEADM_CONTROL_PLANE_METADATA: &str = "capi-kubeadmcontrolplane-metadata";
