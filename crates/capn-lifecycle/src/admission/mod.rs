//! What upstream's webhooks do: defaults and checks of single objects, as plain functions over
//! JSON. The binary hands them to the plane.
//!
//! `mutate` may run on any JSON and leaves alone what has the wrong shape; `validate` then says
//! what is wrong. Neither has effects.

mod cluster;
mod deployment;
mod drain_rule;
mod fields;
mod health_check;
mod kubeadm;
mod machine;
mod replicas;
mod resource_set;
mod set;
mod taints;

use capi_api::addons;
use capi_api::core::GROUP;
use serde_json::Value;

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path, for example `spec.template.spec.version`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    /// A problem with a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Completes a new object; the second argument is the stored one on update.
pub type Mutate = fn(&mut Value, Option<&Value>);
/// Judges a completed object; the second argument is the stored one on update.
pub type Validate = fn(&Value, Option<&Value>) -> Vec<Problem>;

/// Defaults and checks of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Completes a new or changed object.
    pub mutate: Mutate,
    /// Judges it afterwards; no problems means it is accepted.
    pub validate: Validate,
}

/// The admissions of every kind this crate has a controller for.
#[must_use]
pub fn admission() -> Vec<Admission> {
    let core = |kind, mutate, validate| Admission { group: GROUP, kind, mutate, validate };
    let mut all = vec![
        core("Cluster", cluster::mutate as Mutate, cluster::validate as Validate),
        core("Machine", machine::mutate, machine::validate),
        core("MachineSet", set::mutate, set::validate),
        core("MachineDeployment", deployment::mutate, deployment::validate),
        core("MachineHealthCheck", health_check::mutate, health_check::validate),
        core("MachineDrainRule", drain_rule::mutate, drain_rule::validate),
    ];
    let addon = |kind, mutate: Mutate, validate: Validate| Admission {
        group: addons::GROUP,
        kind,
        mutate,
        validate,
    };
    all.push(addon("ClusterResourceSet", resource_set::mutate, resource_set::validate));
    all.push(addon(
        "ClusterResourceSetBinding",
        resource_set::mutate_binding,
        resource_set::validate_binding,
    ));
    all.extend(kubeadm::admission());
    all
}

#[cfg(test)]
mod tests;
