//! Defaults and validation of single objects, like upstream's webhooks, as pure functions over
//! JSON. The binary passes them to the plane.
//!
//! `mutate` accepts any JSON and ignores fields of the wrong type; `validate` then reports them.
//! Neither has side effects.

mod cluster;
mod deployment;
mod drain_rule;
mod fields;
mod health_check;
mod kubeadm;
mod machine;
mod pool;
mod replicas;
mod resource_set;
mod set;
mod taints;

use capi_api::addons;
use capi_api::core::GROUP;
use serde_json::Value;

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path, for example `spec.template.spec.version`.
    pub field: String,
    /// The problem.
    pub message: String,
}

impl Problem {
    /// Creates a problem with a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Sets defaults in an object. The second argument is the stored object on update.
pub type Mutate = fn(&mut Value, Option<&Value>);
/// Validates an object with defaults. The second argument is the stored object on update.
pub type Validate = fn(&Value, Option<&Value>) -> Vec<Problem>;

/// Defaults and validation of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Sets the defaults of a new or changed object.
    pub mutate: Mutate,
    /// Validates it afterwards. No problems means that it is accepted.
    pub validate: Validate,
}

/// Returns the admissions of every kind that has a controller in this crate.
#[must_use]
pub fn admission() -> Vec<Admission> {
    let core = |kind, mutate, validate| Admission { group: GROUP, kind, mutate, validate };
    let mut all = vec![
        core("Cluster", cluster::mutate as Mutate, cluster::validate as Validate),
        core("Machine", machine::mutate, machine::validate),
        core("MachineSet", set::mutate, set::validate),
        core("MachineDeployment", deployment::mutate, deployment::validate),
        core("MachinePool", pool::mutate, pool::validate),
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
