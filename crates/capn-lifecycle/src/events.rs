//! Kubernetes events about an object, for `kubectl describe`.

use capn_text::display;
use kube::Resource;
use kube::runtime::events::{Event, EventType};

use crate::Context;
use crate::error::chain;

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRecord {
    /// Whether a user may have to act.
    pub(crate) is_warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

/// Publishes an event. Best effort: a failure is logged and ignored.
pub(crate) async fn publish<K>(ctx: &Context, object: &K, news: &EventRecord)
where
    K: Resource<DynamicType = ()>,
{
    let event = Event {
        type_: if news.is_warning { EventType::Warning } else { EventType::Normal },
        reason: news.reason.to_owned(),
        // Longer notes are rejected, and notes may quote tenants.
        note: Some(display::text(&news.note, display::EVENT_NOTE).into_owned()),
        action: news.reason.to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(reason = news.reason, error = chain(&error), "cannot publish an event");
    }
}
