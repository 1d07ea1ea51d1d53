//! The kubeadm control plane provider: `controlplane.cluster.x-k8s.io/v1beta2`.

mod spec;
mod status;
mod template;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::crd::finish;

pub use self::spec::{
    KubeadmControlPlane, KubeadmControlPlaneMachineSpec, KubeadmControlPlaneMachineTemplate,
    KubeadmControlPlaneRemediation, KubeadmControlPlaneRollout, KubeadmControlPlaneRolloutBefore,
    KubeadmControlPlaneRolloutStrategy, KubeadmControlPlaneSpec, MachineNaming, RollingUpdate,
    RolloutStrategyType,
};
pub use self::status::{
    KubeadmControlPlaneInitialization, KubeadmControlPlaneStatus, LastRemediation,
};
pub use self::template::{
    KubeadmControlPlaneTemplate, KubeadmControlPlaneTemplateMachineSpec,
    KubeadmControlPlaneTemplateMachineTemplate, KubeadmControlPlaneTemplateResource,
    KubeadmControlPlaneTemplateResourceSpec, KubeadmControlPlaneTemplateSpec,
};

const PROVIDER: &str = "control-plane-kubeadm";

/// Annotation of a Machine: the control plane must release it before it is deleted.
pub const PRE_TERMINATE_HOOK: &str =
    "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";
/// Annotation of a KubeadmControlPlane: upgrades do not change kube-proxy.
pub const SKIP_KUBE_PROXY: &str = "controlplane.cluster.x-k8s.io/skip-kube-proxy";
/// Annotation of a KubeadmControlPlane: upgrades do not change CoreDNS.
pub const SKIP_CORE_DNS: &str = "controlplane.cluster.x-k8s.io/skip-coredns";
/// Annotation of a KubeadmControlPlane: a machine is being replaced.
pub const REMEDIATION_IN_PROGRESS: &str = "controlplane.cluster.x-k8s.io/remediation-in-progress";
/// Annotation of a Machine: the machine it replaces.
pub const REMEDIATION_FOR: &str = "controlplane.cluster.x-k8s.io/remediation-for";

/// Conditions that only a KubeadmControlPlane has; the others are in [`crate::conditions`].
pub mod conditions {
    /// kubeadm has initialized the control plane; never reverts.
    pub const INITIALIZED: &str = "Initialized";
    /// The certificates of the cluster exist.
    pub const CERTIFICATES_AVAILABLE: &str = "CertificatesAvailable";
    /// Every etcd member is healthy.
    pub const ETCD_CLUSTER_HEALTHY: &str = "EtcdClusterHealthy";
    /// Every API server, controller manager and scheduler is healthy.
    pub const COMPONENTS_HEALTHY: &str = "ControlPlaneComponentsHealthy";
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
}

/// Returns the definitions of this group.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        finish(KubeadmControlPlane::crd(), PROVIDER, spec::COLUMNS),
        finish(KubeadmControlPlaneTemplate::crd(), PROVIDER, template::COLUMNS),
    ]
}
