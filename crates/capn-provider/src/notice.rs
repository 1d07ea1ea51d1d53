//! Kubernetes events: what happened to an object, for `kubectl describe`.

use kube::{
    Resource,
    runtime::events::{Event, EventType},
};

use crate::{context::Context, failure::chain};

/// Publishes an event. It is a courtesy: one that cannot be published is logged and forgotten.
pub(crate) async fn tell<K>(ctx: &Context, object: &K, kind: EventType, reason: &str, note: String)
where
    K: Resource<DynamicType = ()>,
{
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        // Longer notes are refused.
        note: Some(note.chars().take(1000).collect()),
        action: reason.to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(reason, error = chain(&error), "cannot publish an event");
    }
}
