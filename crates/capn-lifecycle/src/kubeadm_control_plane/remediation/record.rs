//! What is remembered of a replacement, in annotations. Pure.

use capi_api::KubeadmControlPlane;
use capi_api::controlplane::{LastRemediation, REMEDIATION_FOR, REMEDIATION_IN_PROGRESS};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::observe::OwnedMachine;
use crate::objects::annotation;

/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// The replacement of one unhealthy machine, as upstream writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Record {
    /// Name of the machine.
    pub(in super::super) machine: String,
    /// When; to the second.
    #[serde(default)]
    timestamp: Option<Time>,
    /// How often the replacement of a replacement was tried before, in a row.
    #[serde(default)]
    pub(in super::super) retry_count: i32,
}

impl Record {
    pub(super) fn new(machine: String, now: Timestamp, retry_count: i32) -> Self {
        // What is read from an annotation has no parts of a second either.
        let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { machine, timestamp: Some(Time(second)), retry_count }
    }

    /// Reads an annotation. What a user has broken counts as absent.
    pub(in super::super) fn read(text: &str) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        let is_name = !record.machine.is_empty() && record.machine.len() <= LONGEST_NAME;
        (is_name && record.retry_count >= 0).then_some(record)
    }

    /// The value of an annotation.
    pub(in super::super) fn text(&self) -> String {
        json!(self).to_string()
    }

    /// When, if it is known.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.timestamp.as_ref().map(|time| time.0)
    }

    /// With a count that is not smaller than another's.
    pub(super) fn at_least(self, tries: i32) -> Self {
        Self { retry_count: self.retry_count.max(tries), ..self }
    }

    /// As the status shows it.
    pub(super) fn shown(self) -> Option<LastRemediation> {
        let Self { machine, timestamp, retry_count } = self;
        Some(LastRemediation { machine, time: timestamp?, retry_count })
    }
}

/// How far the replacement that the control plane notes has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// None is noted.
    None,
    /// The machine is there and nobody has deleted it.
    Noted(Record),
    /// It is on its way out.
    Leaving(Record),
    /// It is gone; its replacement is to be made.
    Due(Record),
    /// The replacement is there, or the note cannot be read.
    Over,
}

impl Progress {
    pub(super) fn of(kcp: &KubeadmControlPlane, machines: &[OwnedMachine]) -> Self {
        let Some(text) = annotation(kcp.meta(), REMEDIATION_IN_PROGRESS) else { return Self::None };
        let Some(record) = Record::read(text) else { return Self::Over };
        // A pass may have ended between the replacement and the end of the note.
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

/// The replacement that a machine was made as.
pub(super) fn made_for(owned: &OwnedMachine) -> Option<Record> {
    annotation(owned.machine.meta(), REMEDIATION_FOR).and_then(Record::read)
}

/// The newest replacement that a machine was made as.
pub(super) fn newest(machines: &[OwnedMachine]) -> Option<Record> {
    machines.iter().filter_map(made_for).max_by_key(Record::time)
}
