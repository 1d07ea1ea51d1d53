//! MachineDrainRule.

use capi_api::MachineDrainRule;
use serde_json::Value;

use super::Problem;
use super::fields::typed;
use crate::machine::drain_problems;

pub(super) fn mutate(_: &mut Value, _: Option<&Value>) {}

pub(super) fn validate(new: &Value, _: Option<&Value>) -> Vec<Problem> {
    let rule: MachineDrainRule = match typed(new) {
        Ok(rule) => rule,
        Err(problems) => return problems,
    };
    drain_problems(&rule).into_iter().map(|(field, why)| Problem::new(field, why)).collect()
}
