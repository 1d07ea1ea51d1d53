//! Kubernetes events about an object, for `kubectl describe`.

use capn_text::display;
use kube::{
    Resource,
    runtime::events::{Event, EventType},
};

use crate::{context::Context, failure::chain};

/// Publishes an event. Best effort: a failure is logged and ignored.
pub(crate) async fn publish<K>(
    ctx: &Context,
    object: &K,
    kind: EventType,
    reason: &str,
    note: String,
) where
    K: Resource<DynamicType = ()>,
{
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        // Longer notes are rejected, and notes may quote servers and tenants.
        note: Some(display::text(&note, display::EVENT_NOTE).into_owned()),
        action: reason.to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(reason, error = chain(&error), "cannot publish an event");
    }
}

/// A change compared with the status that was read.
///
/// It is published after the status has been written: if another client has written the status in
/// the meantime, the write fails with a conflict and nothing is published, so that a change is
/// published only once.
pub(crate) struct StatusEvent {
    kind: EventType,
    reason: &'static str,
    note: String,
}

impl StatusEvent {
    /// Creates an event of type `Normal`.
    pub(crate) const fn normal(reason: &'static str, note: String) -> Self {
        Self { kind: EventType::Normal, reason, note }
    }

    /// Creates an event of type `Warning`.
    pub(crate) const fn warning(reason: &'static str, note: String) -> Self {
        Self { kind: EventType::Warning, reason, note }
    }
}

/// Publishes a change, if there is one.
pub(crate) async fn publish_change<K>(ctx: &Context, object: &K, event: Option<StatusEvent>)
where
    K: Resource<DynamicType = ()>,
{
    if let Some(StatusEvent { kind, reason, note }) = event {
        publish(ctx, object, kind, reason, note).await;
    }
}
