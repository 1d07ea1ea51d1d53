//! MachineHealthCheck.

use capi_api::{MachineHealthCheck, labels};
use serde_json::{Value, json};

use super::Problem;
use super::fields::{check_cluster_name, set, text, typed};
use crate::machine_health_check::problems;

pub(super) fn mutate(object: &mut Value, _: Option<&Value>) {
    if let Some(cluster) = text(object, "/spec/clusterName").map(str::to_owned) {
        set(object, &["metadata", "labels", labels::CLUSTER_NAME], json!(cluster));
    }
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let check: MachineHealthCheck = match typed(new) {
        Ok(check) => check,
        Err(problems) => return problems,
    };
    let mut found: Vec<_> =
        problems(&check).into_iter().map(|(field, why)| Problem::new(field, why)).collect();
    found.extend(check_cluster_name(new, old));
    found
}
