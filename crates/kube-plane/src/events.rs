//! Events: `events.k8s.io/v1` is a view of the stored core events.

use serde_json::Value;

/// Field in the core group and in `events.k8s.io/v1`.
const FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Converts core to `events.k8s.io/v1`.
pub(crate) fn from_core(value: &mut Value) {
    value["apiVersion"] = "events.k8s.io/v1".into();
    rename(value, |(core, new)| (core, new));
}

/// Converts `events.k8s.io/v1` to core.
pub(crate) fn to_core(value: &mut Value) {
    value["apiVersion"] = "v1".into();
    rename(value, |(core, new)| (new, core));
}

fn rename(
    value: &mut Value,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(fields) = value.as_object_mut() else { return };
    for (from, to) in FIELDS.map(direction) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_event_forms_round_trip() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod"}, "message": "m", "reason": "r",
            "reportingComponent": "c", "eventTime": "2026-01-01T00:00:00Z", "count": 2,
        });
        let mut value = core.clone();
        from_core(&mut value);
        assert_eq!(value["regarding"]["kind"], "Pod");
        assert_eq!(value["note"], "m");
        assert_eq!(value["reportingController"], "c");
        assert_eq!(value["deprecatedCount"], 2);
        to_core(&mut value);
        assert_eq!(value, core);
    }
}
