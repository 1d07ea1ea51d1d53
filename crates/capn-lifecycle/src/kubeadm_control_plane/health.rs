//! Health of kubeadm's components on control plane machines, from nodes and pods of the workload
//! cluster. Pure.
//!
//! `EtcdMemberHealthy` reflects what etcd reports about the member: that it votes and raises no
//! alarm. If etcd cannot be reached, the readiness of its pod is used.

use std::collections::BTreeMap;

use capi_api::Machine;
use capi_api::conditions::Status;
use capi_api::controlplane::machine_conditions as kind;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::kube_proxy;
use super::kubelet_access::Access;
use crate::summary::ConditionState;
use crate::workload::etcd;

/// Label and taint of control plane nodes.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

const INSPECTION_FAILED: &str = "InspectionFailed";
const CONNECTION_DOWN: &str = "ConnectionDown";
const DELETING: &str = "Deleting";

/// State of a workload cluster.
#[derive(Clone, Debug)]
pub(super) enum View {
    /// It was not read, because there is nothing to read yet.
    NotYet,
    /// It has stopped responding a short time ago.
    Silent,
    /// It has not responded for a long time.
    Down {
        /// Error of the last attempt.
        problem: String,
    },
    /// It responded.
    Reachable(Components),
}

/// Nodes and static pods of a control plane.
#[derive(Clone, Debug, Default)]
pub(super) struct Components {
    /// Nodes of the machines, by name.
    pub(super) nodes: BTreeMap<String, Node>,
    /// Control plane pods in kube-system, by name.
    pub(super) pods: BTreeMap<String, Pod>,
    /// State of etcd.
    pub(super) etcd: EtcdState,
    /// Whether API servers may reach kubelets.
    pub(super) kubelets: Access,
    /// kube-proxy.
    pub(super) kube_proxy: kube_proxy::KubeProxyState,
}

impl Components {
    /// Returns whether the etcd pod of a node is ready.
    pub(super) fn has_etcd(&self, node: &str) -> bool {
        of_pod(self.pods.get(&format!("etcd-{node}"))).status == Status::True
    }

    /// Returns whether the kubelet of a node does not respond, so that nothing on the node can be
    /// reached.
    pub(super) fn is_silent(&self, node: &str) -> bool {
        let node = self.nodes.get(node);
        node.is_some_and(|node| is_ready_unknown(node) || has_taint(node, UNREACHABLE, "NoExecute"))
    }
}

/// State of etcd.
#[derive(Clone, Debug, Default)]
pub(super) enum EtcdState {
    /// It was not queried: it is external or does not exist yet.
    #[default]
    NotAsked,
    /// The query failed.
    Failed(String),
    /// The query succeeded.
    Answered(etcd::View),
}

/// Condition type and state, for each condition of a machine.
pub(super) type MachineConditions = Vec<(&'static str, ConditionState)>;

/// The pods whose health is reported, with their conditions.
const PODS: [(&str, &str); 4] = [
    ("kube-apiserver", kind::API_SERVER_POD_HEALTHY),
    ("kube-controller-manager", kind::CONTROLLER_MANAGER_POD_HEALTHY),
    ("kube-scheduler", kind::SCHEDULER_POD_HEALTHY),
    ("etcd", kind::ETCD_POD_HEALTHY),
];

/// Returns the health of one machine. `None` if nothing new is known, so that the last report
/// stays.
pub(super) fn of_machine(
    machine: &Machine,
    view: &View,
    etcd_is_stacked: bool,
    taint_expected: bool,
) -> Option<MachineConditions> {
    if machine.metadata.deletion_timestamp.is_some() {
        return Some(all(etcd_is_stacked, &ConditionState::no(DELETING, "Machine is deleting")));
    }
    let unknown = |message: &str| {
        Some(all(etcd_is_stacked, &ConditionState::unknown(INSPECTION_FAILED, message)))
    };
    let Some(node_name) = machine.node_name() else {
        return unknown(&match &machine.spec.provider_id {
            Some(id) => format!("Waiting for a Node with spec.providerID {id} to exist"),
            None => {
                let kind = &machine.spec.infrastructure_ref.kind;
                format!("Waiting for {kind} to report spec.providerID")
            }
        });
    };
    let observed = match view {
        View::NotYet => return unknown("Waiting for the control plane to be initialized"),
        View::Silent => return None,
        View::Down { problem } => {
            let state = ConditionState::unknown(CONNECTION_DOWN, problem.as_str());
            return Some(all(etcd_is_stacked, &state));
        }
        View::Reachable(observed) => observed,
    };
    let Some(node) = observed.nodes.get(node_name) else {
        return unknown(&format!("Node {node_name} does not exist"));
    };
    if has_taint(node, UNREACHABLE, "NoExecute") {
        return unknown(&format!("Node {node_name} is unreachable"));
    }
    let mut verdicts = vec![(
        kind::NODE_KUBEADM_LABELS_AND_TAINTS_SET,
        labels_and_taints(node_name, node, taint_expected),
    )];
    for (component, condition) in pods(etcd_is_stacked) {
        let state = if is_ready_unknown(node) {
            let message = "Node Ready condition is Unknown, Pod data might be stale";
            ConditionState::unknown(INSPECTION_FAILED, message)
        } else {
            of_pod(observed.pods.get(&format!("{component}-{node_name}")))
        };
        if component == "etcd" {
            verdicts.push((kind::ETCD_MEMBER_HEALTHY, member(&observed.etcd, node_name, &state)));
        }
        verdicts.push((condition, state));
    }
    Some(verdicts)
}

fn pods(etcd_is_stacked: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    PODS.into_iter().filter(move |(component, _)| etcd_is_stacked || *component != "etcd")
}

fn all(etcd_is_stacked: bool, state: &ConditionState) -> MachineConditions {
    let mut kinds = vec![kind::NODE_KUBEADM_LABELS_AND_TAINTS_SET];
    kinds.extend(pods(etcd_is_stacked).map(|(_, condition)| condition));
    if etcd_is_stacked {
        kinds.push(kind::ETCD_MEMBER_HEALTHY);
    }
    kinds.into_iter().map(|kind| (kind, state.clone())).collect()
}

fn labels_and_taints(name: &str, node: &Node, taint_expected: bool) -> ConditionState {
    let labelled =
        node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(CONTROL_PLANE));
    let tainted = !taint_expected || has_taint(node, CONTROL_PLANE, "NoSchedule");
    let message = match (labelled, tainted) {
        (true, true) => return ConditionState::yes("Set"),
        (false, true) => format!("Node {name} does not have the {CONTROL_PLANE} label"),
        (true, false) => format!("Node {name} does not have the {CONTROL_PLANE}:NoSchedule taint"),
        (false, false) => format!(
            "Node {name} does not have the {CONTROL_PLANE} label and the \
             {CONTROL_PLANE}:NoSchedule taint"
        ),
    };
    ConditionState::no("NotSet", message)
}

fn has_taint(node: &Node, key: &str, effect: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.is_some_and(|taints| taints.iter().any(|t| t.key == key && t.effect == effect))
}

fn is_ready_unknown(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "Unknown"))
}

fn of_pod(pod: Option<&Pod>) -> ConditionState {
    let Some(pod) = pod else { return ConditionState::no("DoesNotExist", "Pod does not exist") };
    if pod.metadata.deletion_timestamp.is_some() {
        return ConditionState::no("Provisioning", "Pod is being replaced");
    }
    let Some(status) = &pod.status else { return ConditionState::no("Provisioning", "") };
    let holds = |kind: &str| {
        let conditions = status.conditions.as_ref();
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == kind && c.status == "True"))
    };
    match status.phase.as_deref() {
        Some("Running") if holds("Ready") => ConditionState::yes("Running"),
        Some("Running") => not_ready(status),
        Some("Pending") if !holds("PodScheduled") => {
            ConditionState::no("Provisioning", "Waiting to be scheduled")
        }
        Some("Pending") if !holds("Initialized") => {
            ConditionState::no("Provisioning", "Running init containers")
        }
        Some("Pending") => ConditionState::no("Provisioning", ""),
        Some("Succeeded") => {
            ConditionState::no("Failed", "All the containers have been terminated")
        }
        Some("Failed") => ConditionState::no("Failed", "All the containers have been terminated"),
        _ => ConditionState::unknown(INSPECTION_FAILED, "Pod is reporting Unknown status"),
    }
}

fn not_ready(status: &k8s_openapi::api::core::v1::PodStatus) -> ConditionState {
    let mut waiting = Vec::new();
    let mut failed = false;
    for container in status.container_statuses.iter().flatten() {
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        failed |= last.is_some_and(|end| end.exit_code != 0);
        let state = container.state.as_ref();
        if let Some(reason) =
            state.and_then(|state| state.waiting.as_ref()).and_then(|wait| wait.reason.clone())
        {
            waiting.push(reason);
        }
    }
    if !waiting.is_empty() {
        let reason = if failed { "Failed" } else { "Provisioning" };
        return ConditionState::no(reason, waiting.join(", "));
    }
    ConditionState::no("Provisioning", "Waiting for startup or readiness probes")
}

/// Returns the state of the member on a node, according to etcd or to its pod.
fn member(etcd: &EtcdState, node: &str, pod: &ConditionState) -> ConditionState {
    const NOT_HEALTHY: &str = "NotHealthy";
    match (etcd, pod.status) {
        (EtcdState::Answered(view), _) => match view.on(node) {
            None => {
                let names: Vec<_> = view.members.iter().map(|m| m.name.as_str()).collect();
                let message = format!(
                    "etcd reports the members {}, none of which is on Node {node}",
                    names.join(", ")
                );
                ConditionState::no(NOT_HEALTHY, message)
            }
            Some(member) if member.is_learner => {
                ConditionState::no(NOT_HEALTHY, "Waiting for learner etcd member to be promoted")
            }
            Some(member) if !member.alarms.is_empty() => {
                let alarms = member.alarms.join(", ");
                ConditionState::no(NOT_HEALTHY, format!("etcd reports alarms: {alarms}"))
            }
            Some(_) => ConditionState::yes("Healthy"),
        },
        (_, Status::False) => ConditionState::no(NOT_HEALTHY, format!("etcd Pod: {}", said(pod))),
        (_, Status::Unknown) => ConditionState::unknown(INSPECTION_FAILED, said(pod)),
        (EtcdState::Failed(problem), Status::True) => {
            ConditionState::unknown(INSPECTION_FAILED, problem.as_str())
        }
        (EtcdState::NotAsked, Status::True) => ConditionState::yes("Healthy"),
    }
}

fn said(state: &ConditionState) -> String {
    if state.message.is_empty() { state.reason.clone() } else { state.message.clone() }
}
