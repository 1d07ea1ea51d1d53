//! What a plan consists of: effects, and what it waits on.

use std::time::Duration;

use capi_api::core::ContractRef;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::kube_proxy;
use super::remediation::Record;
use crate::pki::Purpose;
use crate::summary::Verdict;
use crate::workload::etcd::MemberId;

/// One indivisible effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add our finalizer; nothing else is done before.
    AddFinalizer,
    /// Remove our finalizer: the control plane may go.
    RemoveFinalizer,
    /// Make the cluster an owner of the infrastructure template, so that they move together.
    OwnTemplate(Vec<OwnerReference>),
    /// Make certificates and keys.
    MakeCertificates(Vec<Purpose>),
    /// Make or renew the kubeconfig.
    WriteKubeconfig,
    /// Change a machine in place.
    Sync {
        /// Name of the machine.
        machine: String,
        /// Merge patch.
        change: Value,
    },
    /// Delete parts of machines that were never made.
    DeleteOrphans(Vec<ContractRef>),
    /// Let go of a machine that is being deleted.
    DropHook {
        /// Name of the machine.
        machine: String,
    },
    /// Make another etcd member the leader.
    TransferLeadership {
        /// Node of the leader.
        from: String,
        /// The other member.
        to: MemberId,
    },
    /// Remove a member from etcd.
    RemoveMember {
        /// Node of the member that is asked.
        via: String,
        /// The member that goes.
        member: MemberId,
    },
    /// Give API servers the right to reach kubelets.
    WriteKubeletAccess(Box<ClusterRoleBinding>),
    /// Bring kubeadm's configuration in the workload cluster up to date, for machines that join.
    UpdateKubeadmConfig,
    /// Bring kube-proxy up to date.
    UpdateKubeProxy,
    /// Bring kube-proxy of nodes that have no image but their own up to date, or of all nodes again.
    RollKubeProxy(kube_proxy::Change),
    /// Bring CoreDNS up to date.
    UpdateCoreDns,
    /// Note until when the certificates of a machine are valid, as its API server shows it.
    NoteExpiry {
        /// Name of the machine's KubeadmConfig, which keeps it.
        config: String,
        /// Node of the machine.
        node: String,
        /// Port of its API server.
        port: u16,
    },
    /// Make a machine.
    Create {
        /// It joins; otherwise it initializes the control plane.
        join: bool,
        /// Failure domain for it.
        failure_domain: Option<String>,
        /// The machine that it replaces because that was unhealthy.
        replaces: Option<Record>,
    },
    /// Delete a machine.
    Delete {
        /// Name of the machine.
        machine: String,
    },
    /// Note on the control plane that an unhealthy machine is being replaced, before it is deleted.
    NoteRemediation(Record),
    /// Take that note away: the replacement is there, or there is none to make.
    ForgetRemediation,
}

/// What nothing more can be done without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WaitingOn {
    /// The Cluster, to become the owner.
    Cluster,
    /// The infrastructure of the cluster.
    Infrastructure,
    /// A certificate that its user supplies.
    UserCertificate(Purpose),
    /// A certificate that was there when the control plane was initialized. It is not made again:
    /// nothing in the cluster would accept what a new one signs.
    LostCertificate(Purpose),
    /// Where the API server will answer.
    Endpoint,
    /// The infrastructure template.
    Template,
    /// kubeadm to initialize the control plane.
    Initialization,
    /// What has to be well before a machine is added or taken away; a line for each.
    Preflight(Vec<String>),
    /// Workers, which go first.
    Workers(Vec<String>),
    /// Machines on their way out.
    Machines(Vec<String>),
    /// A user.
    User(String),
}

/// What to do about a control plane.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a plan does nothing until it is applied"]
pub(super) struct Plan {
    /// In this order.
    pub(super) actions: Vec<Action>,
    /// Why there is nothing more; `None` means that all is as it should be.
    pub(super) waiting: Option<WaitingOn>,
    /// When to look again although nothing happens.
    pub(super) recheck: Option<Duration>,
    /// What `OwnerRemediated` says of machines that are to be replaced, by name.
    pub(super) remediation: Vec<(String, Verdict)>,
}

impl Plan {
    /// With nothing more to do before something else has happened.
    pub(super) fn wait(self, on: WaitingOn) -> Self {
        Self { waiting: Some(on), ..self }
    }

    /// Without new machines, of which the namespace takes no more.
    pub(super) fn held_up(mut self, why: String, recheck: Duration) -> Self {
        let before = self.actions.len();
        self.actions.retain(|action| !matches!(action, Action::Create { .. }));
        if self.actions.len() == before {
            return self;
        }
        Self { waiting: Some(WaitingOn::User(why)), recheck: Some(recheck), ..self }
    }

    /// With one effect more.
    pub(super) fn act(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}
