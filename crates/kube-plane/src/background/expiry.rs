//! Expiry of events after one hour, as in Kubernetes.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    api::{Api, DeleteOptions, Propagation},
    json,
    status::Result,
    store::{Key, Object},
};

const EVENTS: &str = "events.";
const RETENTION: SignedDuration = SignedDuration::from_hours(1);

/// Returns the events that have not occurred for an hour. An unreadable event is kept until a user
/// handles it.
pub(super) fn expired(api: &Api, now: Timestamp) -> Vec<Key> {
    let (_, events) = api.store.list(EVENTS, None);
    events.iter().filter(|event| is_expired(event, now)).map(|event| event.key.clone()).collect()
}

/// Deletes an event, unless it has occurred again.
pub(super) async fn delete(api: &Arc<Api>, key: &Key, now: Timestamp) -> Result<()> {
    let Some(resource) = api.registry.tables().stored(EVENTS) else { return Ok(()) };
    let Some(event) = api.store.get_key(key).filter(|event| is_expired(event, now)) else {
        return Ok(());
    };
    let options = DeleteOptions::of_uid(&event.uid, Propagation::Background);
    api.delete(&resource, &key.namespace, &key.name, &options).await.map(drop)
}

fn is_expired(event: &Object, now: Timestamp) -> bool {
    let seen = event.value().ok().and_then(|value| last_seen(&value));
    seen.is_some_and(|seen| now.duration_since(seen) >= RETENTION)
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
        assert!(expired(&api, minutes(50)).is_empty());
        let keys = expired(&api, minutes(70));
        assert_eq!(keys.len(), 1);
        delete(&api, &keys[0], minutes(50)).await.unwrap();
        assert!(api.store.get(EVENTS, "default", "e").is_some(), "it occurred again");
        delete(&api, &keys[0], minutes(70)).await.unwrap();
        assert!(api.store.get(EVENTS, "default", "e").is_none());
    }
}
