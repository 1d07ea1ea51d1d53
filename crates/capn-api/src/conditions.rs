//! Condition types and reasons.
//!
//! Names that the Go provider also uses keep its spelling. A reason is for programs; the message
//! next to it names the object, the cause and the next step.

/// Summary of the other conditions.
pub const READY: &str = "Ready";
/// Whether the object is paused.
pub const PAUSED: &str = "Paused";
/// Whether the object is being deleted, and what the deletion waits for.
pub const DELETING: &str = "Deleting";
/// LXCCluster: whether the load balancer serves.
pub const LOAD_BALANCER_AVAILABLE: &str = "LoadBalancerAvailable";
/// LXCCluster: whether the network of `spec.network` exists.
pub const NETWORK_AVAILABLE: &str = "NetworkAvailable";
/// LXCCluster: whether the server is suitable for nodes, as far as it can be checked. It blocks
/// nothing.
pub const SERVER_HEALTHY: &str = "ServerHealthy";
/// LXCCluster: whether the certificates of its identity are valid, if it has any. It blocks nothing
/// by itself.
pub const CERTIFICATES_VALID: &str = "CertificatesValid";
/// LXCCluster: whether the kubeconfig of the workload cluster can be used. Only set once it has
/// been rejected. It blocks only the pod network.
pub const KUBECONFIG_ACCEPTED: &str = "KubeconfigAccepted";
/// LXCMachine: whether the instance exists, runs and has an address.
pub const INSTANCE_PROVISIONED: &str = "InstanceProvisioned";
/// LXCMachine: whether the bootstrap data turned the instance into a node, as reported by the
/// instance.
pub const BOOTSTRAP_SUCCEEDED: &str = "BootstrapSucceeded";
/// LXCMachine: whether the running instance conforms to the isolation of its cluster.
pub const ISOLATION_KEPT: &str = "IsolationKept";
/// LXCMachinePool: whether the desired number of machines exists, ready and up to date.
pub const REPLICAS_READY: &str = "ReplicasReady";

/// Reasons of conditions.
pub mod reasons {
    /// `Paused` is true.
    pub const PAUSED: &str = "Paused";
    /// `Paused` is false.
    pub const NOT_PAUSED: &str = "NotPaused";
    /// `Ready` is true.
    pub const READY: &str = "Ready";
    /// `Ready` is false.
    pub const NOT_READY: &str = "NotReady";
    /// The object is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The object is not being deleted.
    pub const NOT_DELETING: &str = "NotDeleting";
    /// An LXCCluster waits for the deletion of its Machines.
    pub const WAITING_FOR_MACHINES: &str = "WaitingForMachines";
    /// A control plane that is being deleted waits until its load balancer sends no clients to it.
    pub const DRAINING: &str = "Draining";
    /// A Secret or server needed for the deletion is missing.
    pub const DELETION_BLOCKED: &str = "DeletionBlocked";

    /// All machines of a pool are ready and up to date.
    pub const REPLICAS_READY: &str = "ReplicasReady";
    /// Machines of a pool are missing or not ready.
    pub const WAITING_FOR_REPLICAS: &str = "WaitingForReplicas";
    /// Machines of a pool are being replaced by up-to-date ones.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// A pool has too many machines.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// The spec of a pool is invalid.
    pub const INVALID_POOL: &str = "InvalidPool";

    /// The owner (Cluster, Machine or MachinePool) is not set yet.
    pub const WAITING_FOR_OWNER: &str = "WaitingForOwner";
    /// The identity Secret is missing or incomplete.
    pub const IDENTITY_UNAVAILABLE: &str = "IdentityUnavailable";
    /// The Incus or LXD server does not respond or rejects the connection.
    pub const SERVER_UNAVAILABLE: &str = "ServerUnavailable";

    /// No problem with the server was found.
    pub const SERVER_HEALTHY: &str = "ServerHealthy";
    /// Nodes work on the server, but something is slow, weak or will fail later.
    pub const SERVER_WARNINGS: &str = "ServerWarnings";
    /// A problem with the server prevents nodes from working.
    pub const SERVER_PROBLEMS: &str = "ServerProblems";
    /// The server could not be checked.
    pub const SERVER_NOT_CHECKED: &str = "ServerNotChecked";

    /// No certificate of the identity expires soon.
    pub const CERTIFICATES_VALID: &str = "CertificatesValid";
    /// A certificate of the identity expires within 30 days.
    pub const CERTIFICATE_EXPIRES_SOON: &str = "CertificateExpiresSoon";
    /// The client certificate of the identity has expired.
    pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";

    /// The kubeconfig contains only inline certificates, keys and tokens.
    pub const KUBECONFIG_ACCEPTED: &str = "KubeconfigAccepted";
    /// The kubeconfig is invalid, or contains a field that capn does not accept.
    pub const KUBECONFIG_REFUSED: &str = "KubeconfigRefused";
    /// The network exists.
    pub const NETWORK_AVAILABLE: &str = "NetworkAvailable";
    /// The network is being created.
    pub const CREATING_NETWORK: &str = "CreatingNetwork";
    /// A retry may help.
    pub const NETWORK_PROVISIONING_FAILED: &str = "NetworkProvisioningFailed";
    /// Only a change by the user can help.
    pub const NETWORK_PROVISIONING_ABORTED: &str = "NetworkProvisioningAborted";
    /// The network of a deleted cluster is still in use.
    pub const WAITING_FOR_NETWORK: &str = "WaitingForNetwork";

    /// The load balancer serves.
    pub const LOAD_BALANCER_AVAILABLE: &str = "LoadBalancerAvailable";
    /// The load balancer is being created.
    pub const CREATING_LOAD_BALANCER: &str = "CreatingLoadBalancer";
    /// The load balancer is running and waiting for an address.
    pub const WAITING_FOR_LOAD_BALANCER_ADDRESS: &str = "WaitingForLoadBalancerAddress";
    /// A retry may help.
    pub const LOAD_BALANCER_PROVISIONING_FAILED: &str = "LoadBalancerProvisioningFailed";
    /// Only a change by the user can help.
    pub const LOAD_BALANCER_PROVISIONING_ABORTED: &str = "LoadBalancerProvisioningAborted";

    /// The instance exists, is running and has an address.
    pub const INSTANCE_PROVISIONED: &str = "InstanceProvisioned";
    /// The load balancer of the cluster does not exist yet.
    pub const WAITING_FOR_CLUSTER_INFRASTRUCTURE: &str = "WaitingForClusterInfrastructure";
    /// A worker waits for the first control plane.
    pub const WAITING_FOR_CONTROL_PLANE_AVAILABLE: &str = "WaitingForControlPlaneAvailable";
    /// The bootstrap data does not exist yet.
    pub const WAITING_FOR_BOOTSTRAP_DATA: &str = "WaitingForBootstrapData";
    /// The server is creating the instance.
    pub const CREATING_INSTANCE: &str = "CreatingInstance";
    /// The instance is being started.
    pub const STARTING_INSTANCE: &str = "StartingInstance";
    /// The instance is running but gets no address of a family that the cluster needs.
    pub const ADDRESS_MISSING: &str = "AddressMissing";
    /// The instance is running and waiting for an address.
    pub const WAITING_FOR_ADDRESS: &str = "WaitingForAddress";
    /// A control plane waits until its load balancer forwards to it.
    pub const WAITING_FOR_LOAD_BALANCER: &str = "WaitingForLoadBalancer";
    /// A provisioned instance is stopped and will not be restarted, as the user requested.
    pub const INSTANCE_STOPPED: &str = "InstanceStopped";
    /// A retry may help.
    pub const INSTANCE_PROVISIONING_FAILED: &str = "InstanceProvisioningFailed";
    /// Only a change by the user can help.
    pub const INSTANCE_PROVISIONING_ABORTED: &str = "InstanceProvisioningAborted";
    /// A provisioned instance no longer exists and is not created again.
    pub const INSTANCE_DELETED: &str = "InstanceDeleted";

    /// The instance conforms to the isolation of its cluster.
    pub const ISOLATION_KEPT: &str = "IsolationKept";
    /// The instance or one of its profiles was changed and now violates the isolation of its
    /// cluster.
    pub const ISOLATION_BROKEN: &str = "IsolationBroken";

    /// The bootstrap data is running in the instance.
    pub const BOOTSTRAPPING: &str = "Bootstrapping";
    /// The bootstrap data succeeded, or the node registered if the instance cannot report.
    pub const BOOTSTRAP_SUCCEEDED: &str = "BootstrapSucceeded";
    /// The instance cannot report the progress of its bootstrap data, so the node must register.
    pub const WAITING_FOR_NODE: &str = "WaitingForNode";
    /// The bootstrap data failed. It does not run again.
    pub const BOOTSTRAP_FAILED: &str = "BootstrapFailed";
}
