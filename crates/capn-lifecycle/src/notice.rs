//! Kubernetes events: what happened to an object, for `kubectl describe`.

use capn_text::shown;
use kube::Resource;
use kube::runtime::events::{Event, EventType};

use crate::Context;
use crate::error::chain;

/// What is new about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// Somebody may have to do something about it.
    pub(crate) is_warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

/// Publishes an event. It is a courtesy: one that cannot be published is logged and forgotten.
pub(crate) async fn tell<K>(ctx: &Context, object: &K, news: &News)
where
    K: Resource<DynamicType = ()>,
{
    let event = Event {
        type_: if news.is_warning { EventType::Warning } else { EventType::Normal },
        reason: news.reason.to_owned(),
        // Longer notes are refused, and they quote tenants.
        note: Some(shown::text(&news.note, shown::EVENT).into_owned()),
        action: news.reason.to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(reason = news.reason, error = chain(&error), "cannot publish an event");
    }
}
