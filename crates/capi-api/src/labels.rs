//! Names the whole of Cluster API agrees on: labels, annotations, finalizers, taints, field
//! managers. Spelled as upstream spells them, since other tools look for them.

/// Label of every object of a cluster; its value is the cluster's name.
pub const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
/// Label of control plane machines (value is empty).
pub const CONTROL_PLANE: &str = "cluster.x-k8s.io/control-plane";
/// Label of machines that belong to a control plane object; its value is that object's name.
pub const CONTROL_PLANE_NAME: &str = "cluster.x-k8s.io/control-plane-name";
/// Label of machines that belong to a MachineDeployment.
pub const DEPLOYMENT_NAME: &str = "cluster.x-k8s.io/deployment-name";
/// Label of machines that belong to a MachineSet (see [`label_value`]).
pub const SET_NAME: &str = "cluster.x-k8s.io/set-name";
/// Label of machines that belong to a MachinePool.
pub const POOL_NAME: &str = "cluster.x-k8s.io/pool-name";
/// Label that tells the MachineSets of one MachineDeployment apart.
pub const TEMPLATE_HASH: &str = "machine-template-hash";
/// Label of objects a topology made.
pub const TOPOLOGY_OWNED: &str = "topology.cluster.x-k8s.io/owned";
/// Label by which a provider limits what it watches.
pub const WATCH_FILTER: &str = "cluster.x-k8s.io/watch-filter";
/// Label of a provider's components and definitions.
pub const PROVIDER: &str = "cluster.x-k8s.io/provider";
/// Label of definitions that `clusterctl` looks at.
pub const CLUSTERCTL: &str = "clusterctl.cluster.x-k8s.io";
/// Label of definitions that implement the contract; its value lists the versions that do.
pub const CONTRACT_V1BETA2: &str = "cluster.x-k8s.io/v1beta2";
/// Label of objects that `clusterctl move` takes along although nothing owns them.
pub const MOVE: &str = "clusterctl.cluster.x-k8s.io/move";
/// Label of nodes whose instance may be taken away at any time.
pub const INTERRUPTIBLE: &str = "cluster.x-k8s.io/interruptible";
/// Label of pods that a drain leaves alone (`skip`) or waits for (`wait-completed`).
pub const POD_DRAIN: &str = "cluster.x-k8s.io/drain";

/// Annotation: nothing reconciles the object, whatever the value.
pub const PAUSED: &str = "cluster.x-k8s.io/paused";
/// Annotation: another system reconciles the object.
pub const MANAGED_BY: &str = "cluster.x-k8s.io/managed-by";
/// Annotation: a MachineSet makes no machines.
pub const DISABLE_MACHINE_CREATE: &str = "cluster.x-k8s.io/disable-machine-create";
/// Annotation: the first machine to go when its set becomes smaller.
pub const DELETE_MACHINE: &str = "cluster.x-k8s.io/delete-machine";
/// Annotation: health checks leave the machine alone.
pub const SKIP_REMEDIATION: &str = "cluster.x-k8s.io/skip-remediation";
/// Annotation: the machine is to be replaced.
pub const REMEDIATE_MACHINE: &str = "cluster.x-k8s.io/remediate-machine";
/// Annotation: checks that a MachineSet leaves out before it makes a machine.
pub const SKIP_PREFLIGHT_CHECKS: &str = "machineset.cluster.x-k8s.io/skip-preflight-checks";
/// Annotation: name of the template an object was made from.
pub const CLONED_FROM_NAME: &str = "cluster.x-k8s.io/cloned-from-name";
/// Annotation: `Kind.group` of the template an object was made from.
pub const CLONED_FROM_GROUP_KIND: &str = "cluster.x-k8s.io/cloned-from-groupkind";
/// Annotation: the machine's node is not drained.
pub const EXCLUDE_NODE_DRAINING: &str = "machine.cluster.x-k8s.io/exclude-node-draining";
/// Annotation: volumes of the machine's node are not waited for.
pub const EXCLUDE_WAIT_FOR_VOLUME_DETACH: &str =
    "machine.cluster.x-k8s.io/exclude-wait-for-node-volume-detach";
/// Annotation: when the control plane certificates of the machine end (RFC 3339).
pub const CERTIFICATES_EXPIRY: &str = "machine.cluster.x-k8s.io/certificates-expiry";
/// Prefix of annotations that hold a machine's deletion before its node is drained.
pub const PRE_DRAIN_HOOK_PREFIX: &str = "pre-drain.delete.hook.machine.cluster.x-k8s.io";
/// Prefix of annotations that hold a machine's deletion before its instance goes.
pub const PRE_TERMINATE_HOOK_PREFIX: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io";
/// Annotation: revision of a MachineDeployment or MachineSet.
pub const REVISION: &str = "machinedeployment.clusters.x-k8s.io/revision";
/// Annotation: replicas the deployment asked for when the set was last scaled.
pub const DESIRED_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/desired-replicas";
/// Annotation: most replicas the deployment allows (desired and surge).
pub const MAX_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/max-replicas";
/// Annotation: smallest size the autoscaler may choose.
pub const AUTOSCALER_MIN_SIZE: &str = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size";
/// Annotation: largest size the autoscaler may choose.
pub const AUTOSCALER_MAX_SIZE: &str = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size";
/// Annotation of a KubeadmControlPlane (ours): with `true`, its first machine is made beside the cluster's
/// infrastructure. For clusters without failure domains, which are not known by then.
pub const BEFORE_INFRASTRUCTURE: &str = "capn.cluster.x-k8s.io/create-before-infrastructure";
/// Annotation of a Cluster (ours): `none` when its machines never become nodes.
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
/// Annotation of a node: labels that came from its machine, separated by commas.
pub const NODE_LABELS_FROM_MACHINE: &str = "cluster.x-k8s.io/labels-from-machine";
/// Annotation of a node: annotations that came from its machine, separated by commas.
pub const NODE_ANNOTATIONS_FROM_MACHINE: &str = "cluster.x-k8s.io/annotations-from-machine";
/// Annotation of a node: taints that its machine keeps on it, as `key:effect`, separated by commas.
pub const NODE_TAINTS_FROM_MACHINE: &str = "cluster.x-k8s.io/taints-from-machine";
/// Taint (`NoSchedule`) a node has until its machine has been matched to it.
pub const NODE_UNINITIALIZED_TAINT: &str = "node.cluster.x-k8s.io/uninitialized";
/// Taint (`PreferNoSchedule`) of nodes of an older revision.
pub const NODE_OUTDATED_REVISION_TAINT: &str = "node.cluster.x-k8s.io/outdated-revision";
/// Label prefix that is carried from a machine to its node.
pub const NODE_ROLE_PREFIX: &str = "node-role.kubernetes.io";
/// Label domain that is carried from a machine to its node.
pub const NODE_RESTRICTION_DOMAIN: &str = "node-restriction.kubernetes.io";
/// Label and annotation domain that is carried from a machine to its node.
pub const MANAGED_NODE_DOMAIN: &str = "node.cluster.x-k8s.io";

/// Finalizer of a Cluster.
pub const CLUSTER_FINALIZER: &str = "cluster.cluster.x-k8s.io";
/// Finalizer of a Machine.
pub const MACHINE_FINALIZER: &str = "machine.cluster.x-k8s.io";
/// Finalizer of a MachineSet.
pub const MACHINE_SET_FINALIZER: &str = "cluster.x-k8s.io/machineset";
/// Finalizer of a MachineDeployment.
pub const MACHINE_DEPLOYMENT_FINALIZER: &str = "cluster.x-k8s.io/machinedeployment";
/// Finalizer of a KubeadmControlPlane.
pub const KUBEADM_CONTROL_PLANE_FINALIZER: &str = "kubeadm.controlplane.cluster.x-k8s.io";
/// Finalizer of a ClusterResourceSet.
pub const CLUSTER_RESOURCE_SET_FINALIZER: &str = "addons.cluster.x-k8s.io";

/// Type of the secrets that hold certificates, kubeconfigs and bootstrap data.
pub const CLUSTER_SECRET_TYPE: &str = "cluster.x-k8s.io/secret";

/// Field manager of what a MachineSet writes to its machines.
pub const MANAGER_MACHINE_SET: &str = "capi-machineset";
/// Field manager of labels and annotations a MachineSet carries to infrastructure and bootstrap.
pub const MANAGER_MACHINE_SET_METADATA: &str = "capi-machineset-metadata";
/// Field manager of what a MachineDeployment writes to its sets.
pub const MANAGER_MACHINE_DEPLOYMENT: &str = "capi-machinedeployment";
/// Field manager of what a KubeadmControlPlane writes to its machines.
pub const MANAGER_KUBEADM_CONTROL_PLANE: &str = "capi-kubeadmcontrolplane";
/// Field manager of labels and annotations a KubeadmControlPlane carries on.
pub const MANAGER_KUBEADM_CONTROL_PLANE_METADATA: &str = "capi-kubeadmcontrolplane-metadata";
