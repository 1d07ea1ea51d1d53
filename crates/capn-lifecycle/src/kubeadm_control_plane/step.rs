//! Parts of a plan: effects, and the reason it waits.

use std::time::Duration;

use capi_api::core::ContractRef;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::kube_proxy;
use super::remediation::Record;
use crate::pki::Purpose;
use crate::summary::ConditionState;
use crate::workload::etcd::MemberId;

/// One indivisible effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add the finalizer. Nothing else is done before.
    AddFinalizer,
    /// Remove the finalizer: the control plane may be deleted.
    RemoveFinalizer,
    /// Add the cluster as an owner of the infrastructure template, so that they are moved together.
    OwnTemplate(Vec<OwnerReference>),
    /// Create certificates and keys.
    MakeCertificates(Vec<Purpose>),
    /// Create or renew the kubeconfig.
    WriteKubeconfig,
    /// Update a machine in place.
    Sync {
        /// Name of the machine.
        machine: String,
        /// Merge patch.
        change: Value,
    },
    /// Delete objects of machines that were never created.
    DeleteOrphans(Vec<ContractRef>),
    /// Remove the hook of a machine that is being deleted.
    DropHook {
        /// Name of the machine.
        machine: String,
    },
    /// Transfer the etcd leadership to another member.
    TransferLeadership {
        /// Node of the leader.
        from: String,
        /// The other member.
        to: MemberId,
    },
    /// Remove a member from etcd.
    RemoveMember {
        /// Node of the member that handles the request.
        via: String,
        /// The member to remove.
        member: MemberId,
    },
    /// Allow API servers to reach kubelets.
    WriteKubeletAccess(Box<ClusterRoleBinding>),
    /// Update kubeadm's configuration in the workload cluster, for machines that join.
    UpdateKubeadmConfig,
    /// Update kube-proxy.
    UpdateKubeProxy,
    /// Update kube-proxy while nodes only have the image of their own version, or restore normal
    /// updates.
    RollKubeProxy(kube_proxy::Change),
    /// Update CoreDNS.
    UpdateCoreDns,
    /// Record the expiry of a machine's certificates, as presented by its API server.
    NoteExpiry {
        /// Name of the machine's KubeadmConfig, which stores it.
        config: String,
        /// Node of the machine.
        node: String,
        /// Port of its API server.
        port: u16,
    },
    /// Create a machine.
    Create {
        /// It joins. Otherwise it initializes the control plane.
        join: bool,
        /// Failure domain of the machine.
        failure_domain: Option<String>,
        /// The unhealthy machine that it replaces.
        replaces: Option<Record>,
    },
    /// Delete a machine.
    Delete {
        /// Name of the machine.
        machine: String,
    },
    /// Record on the control plane that an unhealthy machine is being replaced, before it is
    /// deleted.
    NoteRemediation(Record),
    /// Remove this record: the replacement exists, or none must be created.
    ForgetRemediation,
}

/// The reason a plan waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WaitingOn {
    /// The Cluster must become the owner.
    Cluster,
    /// The infrastructure of the cluster is not ready.
    Infrastructure,
    /// A certificate that the user provides is missing.
    UserCertificate(Purpose),
    /// A certificate that existed when the control plane was initialized is missing. It is not
    /// created again: nothing in the cluster would trust a new one.
    LostCertificate(Purpose),
    /// The endpoint is unknown.
    Endpoint,
    /// The infrastructure template is missing.
    Template,
    /// kubeadm has not initialized the control plane.
    Initialization,
    /// Preflight checks failed. Holds one line per check.
    Preflight(Vec<String>),
    /// Workers must be deleted first.
    Workers(Vec<String>),
    /// Machines are being deleted.
    Machines(Vec<String>),
    /// A user must act.
    User(String),
}

/// The action for a control plane.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a plan does nothing until it is applied"]
pub(super) struct Plan {
    /// Effects, in order.
    pub(super) actions: Vec<Action>,
    /// The reason nothing more is done. `None` means that everything is as desired.
    pub(super) waiting: Option<WaitingOn>,
    /// When to check again even if nothing happens.
    pub(super) recheck: Option<Duration>,
    /// States of `OwnerRemediated` for machines that must be replaced, by name.
    pub(super) remediation: Vec<(String, ConditionState)>,
}

impl Plan {
    /// Returns the plan with a reason to wait.
    pub(super) fn wait(self, on: WaitingOn) -> Self {
        Self { waiting: Some(on), ..self }
    }

    /// Returns the plan without new machines, because the quota of the namespace is exhausted.
    pub(super) fn held_up(mut self, why: String, recheck: Duration) -> Self {
        let before = self.actions.len();
        self.actions.retain(|action| !matches!(action, Action::Create { .. }));
        if self.actions.len() == before {
            return self;
        }
        Self { waiting: Some(WaitingOn::User(why)), recheck: Some(recheck), ..self }
    }

    /// Returns the plan with another effect.
    pub(super) fn act(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}
