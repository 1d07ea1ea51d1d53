//! Condition types and reasons.
//!
//! Names that the Go provider has keep its spelling. A reason is what a machine reads; the
//! message next to it names the object, the cause and the next step.

/// Whether everything about the object holds; summary of the others.
pub const READY: &str = "Ready";
/// Whether the controllers leave the object alone.
pub const PAUSED: &str = "Paused";
/// Whether the object is being deleted, and what that waits for.
pub const DELETING: &str = "Deleting";
/// LXCCluster: whether the load balancer serves.
pub const LOAD_BALANCER_AVAILABLE: &str = "LoadBalancerAvailable";
/// LXCCluster: whether the network that `spec.network` names or makes is there.
pub const NETWORK_AVAILABLE: &str = "NetworkAvailable";
/// LXCCluster: whether the server is fit for nodes, as far as it tells. Holds nothing up.
pub const SERVER_HEALTHY: &str = "ServerHealthy";
/// LXCCluster: whether the certificates of its identity hold, for one that has any. Holds nothing
/// up by itself.
pub const CERTIFICATES_VALID: &str = "CertificatesValid";
/// LXCCluster: whether the kubeconfig of the workload cluster can be used, for one that was refused
/// once. Holds nothing up but the pod network.
pub const KUBECONFIG_ACCEPTED: &str = "KubeconfigAccepted";
/// LXCMachine: whether the instance exists, runs and has an address.
pub const INSTANCE_PROVISIONED: &str = "InstanceProvisioned";
/// LXCMachine: whether the bootstrap data made a node of the instance, as the instance tells.
pub const BOOTSTRAP_SUCCEEDED: &str = "BootstrapSucceeded";
/// LXCMachine: whether the running instance keeps what the isolation of its cluster promises.
pub const ISOLATION_KEPT: &str = "IsolationKept";

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
    /// An LXCCluster still waits for its Machines to go.
    pub const WAITING_FOR_MACHINES: &str = "WaitingForMachines";
    /// A control plane that leaves waits until its load balancer sends no client to it.
    pub const DRAINING: &str = "Draining";
    /// A Secret or server needed for the deletion is missing.
    pub const DELETION_BLOCKED: &str = "DeletionBlocked";

    /// The owner (Cluster or Machine) has not been set.
    pub const WAITING_FOR_OWNER: &str = "WaitingForOwner";
    /// The identity Secret is missing or incomplete.
    pub const IDENTITY_UNAVAILABLE: &str = "IdentityUnavailable";
    /// The Incus or LXD server does not answer or refuses us.
    pub const SERVER_UNAVAILABLE: &str = "ServerUnavailable";

    /// Nothing is wrong with the server.
    pub const SERVER_HEALTHY: &str = "ServerHealthy";
    /// Nodes work on the server, and something about it is weaker, slower or fails later.
    pub const SERVER_WARNINGS: &str = "ServerWarnings";
    /// Something about the server keeps nodes from working.
    pub const SERVER_PROBLEMS: &str = "ServerProblems";
    /// The server could not be asked.
    pub const SERVER_NOT_CHECKED: &str = "ServerNotChecked";

    /// No certificate of the identity ends soon.
    pub const CERTIFICATES_VALID: &str = "CertificatesValid";
    /// A certificate of the identity ends within 30 days.
    pub const CERTIFICATE_EXPIRES_SOON: &str = "CertificateExpiresSoon";
    /// The client certificate of the identity has ended.
    pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";

    /// The network is there.
    pub const NETWORK_AVAILABLE: &str = "NetworkAvailable";
    /// The network is being made.
    pub const CREATING_NETWORK: &str = "CreatingNetwork";
    /// A retry can help.
    pub const NETWORK_PROVISIONING_FAILED: &str = "NetworkProvisioningFailed";
    /// Only a change by the user can help.
    pub const NETWORK_PROVISIONING_ABORTED: &str = "NetworkProvisioningAborted";
    /// The network of a cluster that is deleted is still used.
    pub const WAITING_FOR_NETWORK: &str = "WaitingForNetwork";

    /// The kubeconfig has nothing but inline certificates, keys and tokens.
    pub const KUBECONFIG_ACCEPTED: &str = "KubeconfigAccepted";
    /// The kubeconfig cannot be used, or has what capn does not take from a Secret.
    pub const KUBECONFIG_REFUSED: &str = "KubeconfigRefused";

    /// The load balancer serves.
    pub const LOAD_BALANCER_AVAILABLE: &str = "LoadBalancerAvailable";
    /// The load balancer is being made.
    pub const CREATING_LOAD_BALANCER: &str = "CreatingLoadBalancer";
    /// The load balancer runs and waits for an address.
    pub const WAITING_FOR_LOAD_BALANCER_ADDRESS: &str = "WaitingForLoadBalancerAddress";
    /// A retry can help.
    pub const LOAD_BALANCER_PROVISIONING_FAILED: &str = "LoadBalancerProvisioningFailed";
    /// Only a change by the user can help.
    pub const LOAD_BALANCER_PROVISIONING_ABORTED: &str = "LoadBalancerProvisioningAborted";

    /// The instance exists, runs and has an address.
    pub const INSTANCE_PROVISIONED: &str = "InstanceProvisioned";
    /// The load balancer of the cluster is not there yet.
    pub const WAITING_FOR_CLUSTER_INFRASTRUCTURE: &str = "WaitingForClusterInfrastructure";
    /// A worker waits for the first control plane.
    pub const WAITING_FOR_CONTROL_PLANE_AVAILABLE: &str = "WaitingForControlPlaneAvailable";
    /// The bootstrap provider has not made its data yet.
    pub const WAITING_FOR_BOOTSTRAP_DATA: &str = "WaitingForBootstrapData";
    /// The server is making the instance.
    pub const CREATING_INSTANCE: &str = "CreatingInstance";
    /// The instance is being started.
    pub const STARTING_INSTANCE: &str = "StartingInstance";
    /// The instance runs and gets no address of a family that the cluster needs.
    pub const ADDRESS_MISSING: &str = "AddressMissing";
    /// The instance runs and waits for an address.
    pub const WAITING_FOR_ADDRESS: &str = "WaitingForAddress";
    /// A control plane waits for its load balancer to know it.
    pub const WAITING_FOR_LOAD_BALANCER: &str = "WaitingForLoadBalancer";
    /// A provisioned instance stopped and is left stopped, as the user asked.
    pub const INSTANCE_STOPPED: &str = "InstanceStopped";
    /// A retry can help.
    pub const INSTANCE_PROVISIONING_FAILED: &str = "InstanceProvisioningFailed";
    /// Only a change by the user can help.
    pub const INSTANCE_PROVISIONING_ABORTED: &str = "InstanceProvisioningAborted";
    /// A provisioned instance is gone; it is not made again.
    pub const INSTANCE_DELETED: &str = "InstanceDeleted";

    /// Nothing in the instance breaks what the isolation promises.
    pub const ISOLATION_KEPT: &str = "IsolationKept";
    /// The instance, or one of its profiles, was changed so that it breaks what the isolation promises.
    pub const ISOLATION_BROKEN: &str = "IsolationBroken";

    /// The bootstrap data is at work in the instance.
    pub const BOOTSTRAPPING: &str = "Bootstrapping";
    /// The bootstrap data ended well; of an instance that cannot tell, the node registered.
    pub const BOOTSTRAP_SUCCEEDED: &str = "BootstrapSucceeded";
    /// The instance cannot tell how its bootstrap data fares, so the node has to register.
    pub const WAITING_FOR_NODE: &str = "WaitingForNode";
    /// The bootstrap data failed; it does not run again.
    pub const BOOTSTRAP_FAILED: &str = "BootstrapFailed";
}
