//! The kubeadm control plane provider: `controlplane.cluster.x-k8s.io/v1beta2`.

mod spec;
mod status;
mod template;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use self::spec::{
    KubeadmControlPlane, KubeadmControlPlaneDeletion, KubeadmControlPlaneMachineSpec,
    KubeadmControlPlaneMachineTemplate, KubeadmControlPlaneRemediation, KubeadmControlPlaneRollout,
    KubeadmControlPlaneRolloutBefore, KubeadmControlPlaneRolloutStrategy, KubeadmControlPlaneSpec,
    MachineNaming, RollingUpdate, RolloutStrategyType,
};
pub use self::status::{
    KubeadmControlPlaneInitialization, KubeadmControlPlaneStatus, LastRemediation,
};
pub use self::template::{
    KubeadmControlPlaneTemplate, KubeadmControlPlaneTemplateMachineSpec,
    KubeadmControlPlaneTemplateMachineTemplate, KubeadmControlPlaneTemplateResource,
    KubeadmControlPlaneTemplateResourceSpec, KubeadmControlPlaneTemplateSpec,
};

/// Annotation of a Machine: it must not go before the control plane has let go of it.
pub const PRE_TERMINATE_HOOK: &str =
    "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";
/// Annotation of a KubeadmControlPlane: kube-proxy is left as it is when the version changes.
pub const SKIP_KUBE_PROXY: &str = "controlplane.cluster.x-k8s.io/skip-kube-proxy";
/// Annotation of a KubeadmControlPlane: CoreDNS is left as it is when the version changes.
pub const SKIP_CORE_DNS: &str = "controlplane.cluster.x-k8s.io/skip-coredns";
/// Annotation of a KubeadmControlPlane: a machine is being replaced.
pub const REMEDIATION_IN_PROGRESS: &str = "controlplane.cluster.x-k8s.io/remediation-in-progress";
/// Annotation of a Machine: which machine it replaces.
pub const REMEDIATION_FOR: &str = "controlplane.cluster.x-k8s.io/remediation-for";

/// Conditions of a KubeadmControlPlane.
pub mod conditions {
    /// kubeadm has initialised the control plane; never goes back.
    pub const INITIALIZED: &str = "Initialized";
    /// The certificates of the cluster exist.
    pub const CERTIFICATES_AVAILABLE: &str = "CertificatesAvailable";
    /// Every etcd member is healthy.
    pub const ETCD_CLUSTER_HEALTHY: &str = "EtcdClusterHealthy";
    /// Every API server, controller manager and scheduler is healthy.
    pub const COMPONENTS_HEALTHY: &str = "ControlPlaneComponentsHealthy";
    /// Every machine is ready.
    pub const MACHINES_READY: &str = "MachinesReady";
    /// Every machine is as the spec asks.
    pub const MACHINES_UP_TO_DATE: &str = "MachinesUpToDate";
    /// Requests can be served.
    pub const AVAILABLE: &str = "Available";
    /// Machines are replaced by newer ones.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Machines are added.
    pub const SCALING_UP: &str = "ScalingUp";
    /// Machines are taken away.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// An unhealthy machine is being replaced.
    pub const REMEDIATING: &str = "Remediating";
    /// The control plane is being deleted.
    pub const DELETING: &str = "Deleting";
    /// Nothing is reconciled.
    pub const PAUSED: &str = "Paused";
}

/// Conditions that the control plane writes to its Machines.
pub mod machine_conditions {
    /// The static pod of the API server is ready.
    pub const API_SERVER_POD_HEALTHY: &str = "APIServerPodHealthy";
    /// The static pod of the controller manager is ready.
    pub const CONTROLLER_MANAGER_POD_HEALTHY: &str = "ControllerManagerPodHealthy";
    /// The static pod of the scheduler is ready.
    pub const SCHEDULER_POD_HEALTHY: &str = "SchedulerPodHealthy";
    /// The static pod of etcd is ready.
    pub const ETCD_POD_HEALTHY: &str = "EtcdPodHealthy";
    /// The etcd member on the machine's node is healthy.
    pub const ETCD_MEMBER_HEALTHY: &str = "EtcdMemberHealthy";
    /// The node has the label and the taint that kubeadm gives to control plane nodes.
    pub const NODE_KUBEADM_LABELS_AND_TAINTS_SET: &str = "NodeKubeadmLabelsAndTaintsSet";
    /// The machine is as the spec asks.
    pub const UP_TO_DATE: &str = "UpToDate";
}

/// The definitions of this group.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![KubeadmControlPlane::crd(), KubeadmControlPlaneTemplate::crd()]
}
