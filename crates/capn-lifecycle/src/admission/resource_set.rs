//! ClusterResourceSet and ClusterResourceSetBinding.

use capi_api::ClusterResourceSet;
use serde_json::{Value, json};

use super::Problem;
use super::fields::{check_cluster_name, default, typed};
use crate::objects::check_selector;

const SELECTOR: &str = "spec.clusterSelector";

pub(super) fn mutate(object: &mut Value, _: Option<&Value>) {
    default(object, &["spec", "strategy"], json!("ApplyOnce"));
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let set: ClusterResourceSet = match typed(new) {
        Ok(set) => set,
        Err(problems) => return problems,
    };
    let Some(Ok(old)) = old.map(typed::<ClusterResourceSet>) else {
        let problem = check_selector(&set.spec.cluster_selector).err();
        return problem.map(|problem| Problem::new(SELECTOR, problem)).into_iter().collect();
    };
    let mut found = Vec::new();
    if old.spec.strategy.is_some_and(|strategy| Some(strategy) != set.spec.strategy) {
        found.push(Problem::new("spec.strategy", "cannot be changed"));
    }
    if old.spec.cluster_selector != set.spec.cluster_selector {
        found.push(Problem::new(SELECTOR, "cannot be changed"));
    }
    found
}

pub(super) fn mutate_binding(_: &mut Value, _: Option<&Value>) {}

pub(super) fn validate_binding(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    check_cluster_name(new, old).into_iter().collect()
}
