//! MachineSet.

use capi_api::{MachineSet, labels};
use serde_json::{Value, json};

use super::Problem;
use super::fields::{
    check_cluster_name, check_naming, check_template, prefix_version, set, text, typed,
};
use super::replicas;
use super::taints::check_taints;
use crate::objects::label_value;

pub(super) fn mutate(object: &mut Value, old: Option<&Value>) {
    replicas::default(object, old);
    let name = text(object, "/metadata/name").map(label_value);
    select_by(object, labels::SET_NAME, name);
    prefix_version(object, &["spec", "template", "spec", "version"]);
}

/// Adds the cluster label to the object, its template and the selector. An empty selector also
/// selects by `key`.
pub(super) fn select_by(object: &mut Value, key: &str, name: Option<String>) {
    let Some(cluster) = text(object, "/spec/clusterName").map(str::to_owned) else { return };
    set(object, &["metadata", "labels", labels::CLUSTER_NAME], json!(cluster));
    let is_empty = |pointer: &str| match object.pointer(pointer) {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    let selects_nothing =
        is_empty("/spec/selector/matchLabels") && is_empty("/spec/selector/matchExpressions");
    let template = ["spec", "template", "metadata", "labels"];
    let selector = ["spec", "selector", "matchLabels"];
    let mut add = |key: &str, value: &str| {
        for path in [&template[..], &selector[..]] {
            set(object, &[path, &[key]].concat(), json!(value));
        }
    };
    if selects_nothing && let Some(name) = name {
        add(key, &name);
    }
    add(labels::CLUSTER_NAME, &cluster);
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let object: MachineSet = match typed(new) {
        Ok(object) => object,
        Err(problems) => return problems,
    };
    let spec = &object.spec;
    let mut problems = check_template(&spec.cluster_name, &spec.selector, &spec.template);
    problems.extend(check_cluster_name(new, old));
    let taints = spec.template.spec.taints.as_ref();
    problems.extend(check_taints("spec.template.spec.taints", taints, true));
    let naming = spec.machine_naming.as_ref().and_then(|naming| naming.template.as_deref());
    problems.extend(check_naming("spec.machineNaming.template", naming));
    if spec.replicas.is_some_and(|replicas| replicas < 0) {
        problems.push(Problem::new("spec.replicas", "must not be negative"));
    }
    if let Some(old) = old
        && old.pointer("/spec/selector") != new.pointer("/spec/selector")
    {
        problems.push(Problem::new("spec.selector", "cannot be changed"));
    }
    problems
}
