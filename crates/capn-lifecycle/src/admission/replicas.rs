//! Default number of replicas.

use capi_api::labels;
use serde_json::{Value, json};

use super::fields::text;

/// Sets the default of `spec.replicas`: with autoscaler bounds in the annotations, the size within
/// the bounds that is nearest to the previous one, or else 1.
pub(super) fn default(object: &mut Value, old: Option<&Value>) {
    if object.pointer("/spec/replicas").is_some_and(|value| !value.is_null()) {
        return;
    }
    let replicas = bounded(object, old).unwrap_or(1);
    super::fields::set(object, &["spec", "replicas"], json!(replicas));
}

fn bounded(object: &Value, old: Option<&Value>) -> Option<i64> {
    let bound = |key: &str| -> Option<i64> {
        let pointer = format!("/metadata/annotations/{}", key.replace('/', "~1"));
        text(object, &pointer)?.parse().ok()
    };
    let (least, most) = (bound(labels::AUTOSCALER_MIN_SIZE)?, bound(labels::AUTOSCALER_MAX_SIZE)?);
    if least > most {
        return None;
    }
    let before = old.and_then(|old| old.pointer("/spec/replicas")).and_then(Value::as_i64);
    Some(before.map_or(least, |before| before.clamp(least, most)))
}
