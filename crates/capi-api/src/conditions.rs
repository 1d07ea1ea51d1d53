//! Condition types, reasons and lists.
//!
//! The `lastTransitionTime` of a condition changes only with its status. [`Conditions`] is the list
//! of an object that is being updated; [`get`] and the other functions read lists of any object.

use capn_text::display;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Condition type: the object is available.
pub const AVAILABLE: &str = "Available";
/// Condition type: the object is ready.
pub const READY: &str = "Ready";
/// Condition type: the object matches the spec of its owner.
pub const UP_TO_DATE: &str = "UpToDate";
/// Condition type: the bootstrap data exists.
pub const BOOTSTRAP_CONFIG_READY: &str = "BootstrapConfigReady";
/// Condition type: the infrastructure is ready.
pub const INFRASTRUCTURE_READY: &str = "InfrastructureReady";
/// Condition type of a Machine: its node is ready.
pub const NODE_READY: &str = "NodeReady";
/// Condition type of a Machine: its node is ready and without pressure conditions.
pub const NODE_HEALTHY: &str = "NodeHealthy";
/// Condition type of a Machine: its health checks succeed.
pub const HEALTH_CHECK_SUCCEEDED: &str = "HealthCheckSucceeded";
/// Condition type of a Machine: its owner has remediated it.
pub const OWNER_REMEDIATED: &str = "OwnerRemediated";
/// Condition type of a Machine: an external controller has remediated it.
pub const EXTERNALLY_REMEDIATED: &str = "ExternallyRemediated";
/// Condition type of a MachineHealthCheck: unhealthy machines may be remediated.
pub const REMEDIATION_ALLOWED: &str = "RemediationAllowed";
/// Condition type of a ClusterResourceSet: all resources are applied to all selected clusters.
pub const RESOURCES_APPLIED: &str = "ResourcesApplied";
/// Condition type of a Machine: it is being updated in place.
pub const UPDATING: &str = "Updating";
/// Condition type of a Cluster: its control plane has been initialized.
pub const CONTROL_PLANE_INITIALIZED: &str = "ControlPlaneInitialized";
/// Condition type of a Cluster: its control plane is available.
pub const CONTROL_PLANE_AVAILABLE: &str = "ControlPlaneAvailable";
/// Condition type of a Cluster: its workers are available.
pub const WORKERS_AVAILABLE: &str = "WorkersAvailable";
/// Condition type of a Cluster: its control plane machines are ready.
pub const CONTROL_PLANE_MACHINES_READY: &str = "ControlPlaneMachinesReady";
/// Condition type of a Cluster: its control plane machines are up to date.
pub const CONTROL_PLANE_MACHINES_UP_TO_DATE: &str = "ControlPlaneMachinesUpToDate";
/// Condition type of a Cluster: its workers are ready.
pub const WORKER_MACHINES_READY: &str = "WorkerMachinesReady";
/// Condition type of a Cluster: its workers are up to date.
pub const WORKER_MACHINES_UP_TO_DATE: &str = "WorkerMachinesUpToDate";
/// Condition type of a Cluster: its API server can be reached.
pub const REMOTE_CONNECTION_PROBE: &str = "RemoteConnectionProbe";
/// Condition type: all machines are ready.
pub const MACHINES_READY: &str = "MachinesReady";
/// Condition type: all machines are up to date.
pub const MACHINES_UP_TO_DATE: &str = "MachinesUpToDate";
/// Condition type: machines are being replaced.
pub const ROLLING_OUT: &str = "RollingOut";
/// Condition type: machines are missing.
pub const SCALING_UP: &str = "ScalingUp";
/// Condition type: there are too many machines.
pub const SCALING_DOWN: &str = "ScalingDown";
/// Condition type: unhealthy machines are being replaced.
pub const REMEDIATING: &str = "Remediating";
/// Condition type: the object is being deleted.
pub const DELETING: &str = "Deleting";
/// Condition type: reconciliation of the object is paused.
pub const PAUSED: &str = "Paused";

/// Condition reasons of upstream. Reasons of a single kind are in its controller.
pub mod reason {
    #![expect(missing_docs, reason = "the names are the reasons, word for word")]

    pub const AVAILABLE: &str = "Available";
    pub const NOT_AVAILABLE: &str = "NotAvailable";
    pub const AVAILABLE_UNKNOWN: &str = "AvailableUnknown";
    pub const READY: &str = "Ready";
    pub const NOT_READY: &str = "NotReady";
    pub const READY_UNKNOWN: &str = "ReadyUnknown";
    pub const UP_TO_DATE: &str = "UpToDate";
    pub const NOT_UP_TO_DATE: &str = "NotUpToDate";
    pub const UP_TO_DATE_UNKNOWN: &str = "UpToDateUnknown";
    pub const ROLLING_OUT: &str = "RollingOut";
    pub const NOT_ROLLING_OUT: &str = "NotRollingOut";
    pub const SCALING_UP: &str = "ScalingUp";
    pub const NOT_SCALING_UP: &str = "NotScalingUp";
    pub const SCALING_DOWN: &str = "ScalingDown";
    pub const NOT_SCALING_DOWN: &str = "NotScalingDown";
    pub const REMEDIATING: &str = "Remediating";
    pub const NOT_REMEDIATING: &str = "NotRemediating";
    pub const NO_REPLICAS: &str = "NoReplicas";
    pub const WAITING_FOR_REPLICAS_SET: &str = "WaitingForReplicasSet";
    pub const INVALID_CONDITION_REPORTED: &str = "InvalidConditionReported";
    pub const INTERNAL_ERROR: &str = "InternalError";
    pub const OBJECT_DOES_NOT_EXIST: &str = "ObjectDoesNotExist";
    pub const OBJECT_DELETED: &str = "ObjectDeleted";
    pub const NOT_PAUSED: &str = "NotPaused";
    pub const PAUSED: &str = "Paused";
    pub const CONNECTION_DOWN: &str = "ConnectionDown";
    pub const NOT_DELETING: &str = "NotDeleting";
    pub const DELETING: &str = "Deleting";
    pub const DELETION_COMPLETED: &str = "DeletionCompleted";
    pub const INSPECTION_FAILED: &str = "InspectionFailed";
    pub const WAITING_FOR_CLUSTER_INFRASTRUCTURE_READY: &str =
        "WaitingForClusterInfrastructureReady";
    pub const WAITING_FOR_CONTROL_PLANE_INITIALIZED: &str = "WaitingForControlPlaneInitialized";
    pub const WAITING_FOR_BOOTSTRAP_DATA: &str = "WaitingForBootstrapData";
    pub const PROVISIONED: &str = "Provisioned";
    pub const NOT_PROVISIONED: &str = "NotProvisioned";
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The condition is true.
    True,
    /// The condition is false.
    False,
    /// The status is unknown.
    Unknown,
}

impl Status {
    /// Returns the status as written in an object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Parses a status; an invalid text is [`Status::Unknown`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Returns the condition of a type, if it is in the list.
#[must_use]
pub fn get<'a>(conditions: Option<&'a Vec<Condition>>, kind: &str) -> Option<&'a Condition> {
    conditions?.iter().find(|condition| condition.type_ == kind)
}

/// Status of the condition of a type, if it is in the list.
#[must_use]
pub fn status(conditions: Option<&Vec<Condition>>, kind: &str) -> Option<Status> {
    get(conditions, kind).map(|condition| Status::parse(&condition.status))
}

/// Returns whether the condition is in the list and true.
#[must_use]
pub fn is_true(conditions: Option<&Vec<Condition>>, kind: &str) -> bool {
    status(conditions, kind) == Some(Status::True)
}

/// The conditions of an object that is being updated.
///
/// Starts from the existing conditions, so that those of other writers stay and unchanged
/// conditions keep their `lastTransitionTime`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    list: Vec<Condition>,
    now: Timestamp,
    generation: Option<i64>,
}

impl Conditions {
    /// Starts from the existing conditions. `now` is the transition time of changed conditions.
    ///
    /// Conditions of contract v1beta1 may lack a reason, and would be rejected when written back.
    /// They get their type as reason.
    #[must_use]
    pub fn new(existing: Option<&Vec<Condition>>, generation: Option<i64>, now: Timestamp) -> Self {
        let mut list = existing.cloned().unwrap_or_default();
        for condition in list.iter_mut().filter(|condition| condition.reason.is_empty()) {
            condition.reason.clone_from(&condition.type_);
        }
        Self { list, now, generation }
    }

    /// Sets a condition. Messages may quote servers, nodes and tenants: control characters are
    /// replaced, and messages longer than Kubernetes allows are truncated.
    pub fn set(
        &mut self,
        kind: &str,
        status: Status,
        reason: &str,
        message: impl Into<String>,
    ) -> &mut Self {
        let position = self.list.iter().position(|condition| condition.type_ == kind);
        let since = position
            .and_then(|at| self.list.get(at))
            .filter(|condition| condition.status == status.as_str())
            .map_or(Time(self.now), |condition| condition.last_transition_time.clone());
        let condition = Condition {
            type_: kind.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: display::text(&message.into(), display::CONDITION_MESSAGE).into_owned(),
            last_transition_time: since,
            observed_generation: self.generation,
        };
        match position.and_then(|at| self.list.get_mut(at)) {
            Some(place) => *place = condition,
            None => self.list.push(condition),
        }
        self
    }

    /// Removes a condition.
    pub fn remove(&mut self, kind: &str) -> &mut Self {
        self.list.retain(|condition| condition.type_ != kind);
        self
    }

    /// Returns the condition of a type.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&Condition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    /// Status of the condition of a type.
    #[must_use]
    pub fn status(&self, kind: &str) -> Option<Status> {
        self.get(kind).map(|condition| Status::parse(&condition.status))
    }

    /// Returns whether the condition of a type exists and is true.
    #[must_use]
    pub fn is_true(&self, kind: &str) -> bool {
        self.status(kind) == Some(Status::True)
    }

    /// Returns the list for the object's status, sorted by type, but with `Available` and `Ready`
    /// first as in upstream.
    #[must_use]
    pub fn finish(mut self) -> Vec<Condition> {
        self.list.sort_by_key(|condition| {
            let rank = match condition.type_.as_str() {
                AVAILABLE => 0,
                READY => 1,
                _ => 2,
            };
            (rank, condition.type_.clone())
        });
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1beta1_conditions_round_trip() {
        let old = serde_json::json!([
            { "type": "Ready", "status": "True", "lastTransitionTime": "2025-11-02T10:00:00Z" },
            {
                "type": "InstanceProvisioned", "status": "False", "severity": "Warning",
                "reason": "CreatingInstance", "lastTransitionTime": "2025-11-02T10:00:00Z",
            },
        ]);
        let old: Vec<Condition> = serde_json::from_value(old).unwrap();
        let kept = Conditions::new(Some(&old), None, Timestamp::UNIX_EPOCH).finish();
        let reasons: Vec<_> = kept.iter().map(|kept| kept.reason.as_str()).collect();
        assert_eq!(reasons, ["Ready", "CreatingInstance"]);
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut first = Conditions::new(None, Some(1), at(10));
        first.set(READY, Status::False, "A", "x");
        let list = first.finish();

        let mut same = Conditions::new(Some(&list), Some(2), at(20));
        same.set(READY, Status::False, "B", "y");
        let same = same.finish();
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!(same[0].reason, "B");
        assert_eq!(same[0].observed_generation, Some(2));

        let mut other = Conditions::new(Some(&same), Some(2), at(30));
        other.set(READY, Status::True, "C", "");
        assert_eq!(other.finish()[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn messages_are_cleaned_and_truncated() {
        let mut conditions = Conditions::new(None, None, at(1));
        conditions.set(READY, Status::False, "R", "the server said \x1b]0;x\x07 a\nb");
        conditions.set(AVAILABLE, Status::False, "R", "long".repeat(100_000));
        let list = conditions.finish();
        assert_eq!(list[1].message, "the server said �]0;x� a\nb");
        assert!(list[0].message.len() <= display::CONDITION_MESSAGE);
    }

    #[test]
    fn conditions_of_other_writers_are_kept() {
        let mut theirs = Conditions::new(None, None, at(1));
        theirs.set("Theirs", Status::True, "R", "");
        let list = theirs.finish();
        let mut ours = Conditions::new(Some(&list), None, at(2));
        ours.set(READY, Status::True, "R", "").set(AVAILABLE, Status::True, "R", "");
        let kinds: Vec<_> = ours.finish().into_iter().map(|c| c.type_).collect();
        assert_eq!(kinds, ["Available", "Ready", "Theirs"]);
    }
}
