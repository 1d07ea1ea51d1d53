//! Records of replacements, stored in annotations. Pure.

use capi_api::KubeadmControlPlane;
use capi_api::controlplane::{LastRemediation, REMEDIATION_FOR, REMEDIATION_IN_PROGRESS};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::observe::OwnedMachine;
use crate::objects::annotation;

/// Maximum length of an object name.
const LONGEST_NAME: usize = 253;

/// The replacement of one unhealthy machine, in upstream's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Record {
    /// Name of the machine.
    pub(in super::super) machine: String,
    /// Time of the replacement, with a resolution of seconds.
    #[serde(default)]
    timestamp: Option<Time>,
    /// Number of consecutive retries before.
    #[serde(default)]
    pub(in super::super) retry_count: i32,
}

impl Record {
    pub(super) fn new(machine: String, now: Timestamp, retry_count: i32) -> Self {
        // The annotation stores whole seconds only.
        let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { machine, timestamp: Some(Time(second)), retry_count }
    }

    /// Parses an annotation. An invalid one counts as absent.
    pub(in super::super) fn read(text: &str) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        let is_name = !record.machine.is_empty() && record.machine.len() <= LONGEST_NAME;
        (is_name && record.retry_count >= 0).then_some(record)
    }

    /// Returns the value of the annotation.
    pub(in super::super) fn text(&self) -> String {
        json!(self).to_string()
    }

    /// Returns the time, if it is known.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.timestamp.as_ref().map(|time| time.0)
    }

    /// Returns the record with a retry count that is not smaller than the given one.
    pub(super) fn at_least(self, tries: i32) -> Self {
        Self { retry_count: self.retry_count.max(tries), ..self }
    }

    /// Returns the record in the form used in the status.
    pub(super) fn shown(self) -> Option<LastRemediation> {
        let Self { machine, timestamp, retry_count } = self;
        Some(LastRemediation { machine, time: timestamp?, retry_count })
    }
}

/// Progress of the recorded replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is no record.
    None,
    /// The machine exists and has not been deleted.
    Noted(Record),
    /// The machine is being deleted.
    Leaving(Record),
    /// The machine is gone and its replacement must be created.
    Due(Record),
    /// The replacement exists, or the record is invalid.
    Over,
}

impl Progress {
    pub(super) fn of(kcp: &KubeadmControlPlane, machines: &[OwnedMachine]) -> Self {
        let Some(text) = annotation(kcp.meta(), REMEDIATION_IN_PROGRESS) else { return Self::None };
        let Some(record) = Record::read(text) else { return Self::Over };
        // A pass may have been interrupted between the creation of the replacement and the removal
        // of the record.
        if machines.iter().any(|owned| made_for(owned).as_ref() == Some(&record)) {
            return Self::Over;
        }
        match machines.iter().find(|owned| owned.name() == record.machine) {
            Some(owned) if owned.is_deleting() => Self::Leaving(record),
            Some(_) => Self::Noted(record),
            None => Self::Due(record),
        }
    }
}

/// Returns the replacement for which a machine was created.
pub(super) fn made_for(owned: &OwnedMachine) -> Option<Record> {
    annotation(owned.machine.meta(), REMEDIATION_FOR).and_then(Record::read)
}

/// Returns the newest replacement for which a machine was created.
pub(super) fn newest(machines: &[OwnedMachine]) -> Option<Record> {
    machines.iter().filter_map(made_for).max_by_key(Record::time)
}
