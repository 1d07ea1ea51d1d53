//! Kubernetes events: what happened to an object, for `kubectl describe`.

use capn_text::shown;
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
        // Longer notes are refused, and they quote servers and tenants.
        note: Some(shown::text(&note, shown::EVENT).into_owned()),
        action: reason.to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(reason, error = chain(&error), "cannot publish an event");
    }
}

/// What is new about an object, judged by the status that was read.
///
/// It is told after the status is written: whoever judged by a status that somebody has written since
/// gets a conflict and tells nothing, so that the same is not told twice.
pub(crate) struct News {
    kind: EventType,
    reason: &'static str,
    note: String,
}

impl News {
    /// What is as it should be.
    pub(crate) const fn normal(reason: &'static str, note: String) -> Self {
        Self { kind: EventType::Normal, reason, note }
    }

    /// What somebody may have to do something about.
    pub(crate) const fn warning(reason: &'static str, note: String) -> Self {
        Self { kind: EventType::Warning, reason, note }
    }
}

/// Publishes what is new, if anything.
pub(crate) async fn tell_news<K>(ctx: &Context, object: &K, news: Option<News>)
where
    K: Resource<DynamicType = ()>,
{
    if let Some(News { kind, reason, note }) = news {
        tell(ctx, object, kind, reason, note).await;
    }
}
