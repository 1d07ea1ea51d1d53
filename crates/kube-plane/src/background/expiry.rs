//! Expiry of events after one hour, as in Kubernetes.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    api::{Api, DeleteOptions, Propagation},
    json,
    status::Result,
};

const EVENTS: &str = "events.";
const RETENTION: SignedDuration = SignedDuration::from_hours(1);

/// Deletes events that have not occurred for an hour.
pub(super) async fn expire(api: &Arc<Api>, now: Timestamp) -> Result<()> {
    let Some(resource) = api.registry.tables().stored(EVENTS) else { return Ok(()) };
    let (_, events) = api.store.list(EVENTS, None);
    for event in events {
        if last_seen(&event.value()?).is_none_or(|seen| now.duration_since(seen) < RETENTION) {
            continue;
        }
        let options = DeleteOptions::of_uid(&event.uid, Propagation::Background);
        let key = &event.key;
        match api.delete(&resource, &key.namespace, &key.name, &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the latest timestamp of an event.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let times: [&[&str]; 4] = [
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["eventTime"],
        &["metadata", "creationTimestamp"],
    ];
    times.iter().filter_map(|path| json::text(event, path).parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Plane, PlaneOptions};

    #[test]
    fn the_latest_time_counts() {
        let event = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "series": {"lastObservedTime": "2026-01-02T00:00:00.000000Z"},
        });
        assert_eq!(last_seen(&event), "2026-01-02T00:00:00Z".parse().ok());
        assert_eq!(last_seen(&json!({})), None);
    }

    #[tokio::test]
    async fn only_old_events_are_deleted() {
        let plane = Plane::open(PlaneOptions::default()).await.unwrap();
        let api = plane.service().api;
        let events = api.registry.tables().stored(EVENTS).unwrap();
        let about = json!({"kind": "ConfigMap", "name": "c", "namespace": "default"});
        let event = json!({"metadata": {"name": "e"}, "involvedObject": about});
        let options = crate::api::WriteOptions::default();
        api.create(&events, "default", event.into(), &options).await.unwrap();
        let minutes = |n: i64| Timestamp::now() + SignedDuration::from_mins(n);
        expire(&api, minutes(50)).await.unwrap();
        assert!(api.store.get(EVENTS, "default", "e").is_some());
        expire(&api, minutes(70)).await.unwrap();
        assert!(api.store.get(EVENTS, "default", "e").is_none());
    }
}
