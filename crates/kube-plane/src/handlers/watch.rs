//! Watch: a stream of events.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::Response;
use rand::Rng;
use serde_json::{Value, json};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    request::{Form, Query},
    response,
};
use crate::{
    admission::FieldError,
    api::Api,
    json,
    registry::{Access, Resource},
    selectors::Selector,
    service::ResponseBody,
    status::{ApiError, Result},
    store::{Change, Event, Object},
    table::{self, Include},
};

/// Time between bookmarks of an idle watch.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Watches a resource, in all namespaces or one.
pub(crate) fn watch(
    api: &Arc<Api>,
    resource: Arc<Resource>,
    namespace: Option<&str>,
    form: Form,
    query: &Query,
    shutdown: &CancellationToken,
) -> Result<Response<ResponseBody>> {
    if resource.access == Access::Review {
        return Err(ApiError::method_not_allowed());
    }
    let selector =
        Selector::parse(&resource, query.get("labelSelector"), query.get("fieldSelector"))?;
    let initial = check_initial(query)?;
    let asked = query.number("resourceVersion")?.unwrap_or(0);
    // Before the first look, so that nothing between is missed.
    let news = api.store.subscribe();
    let timeout = query.timeout()?.unwrap_or_else(|| {
        // As the API server: between 30 and 60 minutes, so that not all come back at once.
        Duration::from_secs(rand::rng().random_range(1800..3600))
    });
    let mut bookmarks = interval_at(Instant::now() + BOOKMARK, BOOKMARK);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch {
        api: Arc::clone(api),
        resource,
        namespace: namespace.map(Into::into),
        selector,
        form,
        include: Include::parse(query.get("includeObject")),
        headers: true,
        bookmarks: query.flag("allowWatchBookmarks").then_some(bookmarks),
        position: asked,
        lines: VecDeque::new(),
        news,
        deadline: Instant::now() + timeout,
        shutdown: shutdown.clone(),
        ended: false,
    };
    let current = api.store.revision();
    if initial == Some(true) || (asked == 0 && initial.is_none()) {
        watch.start(initial == Some(true), asked);
    } else if asked == 0 {
        watch.position = current;
    } else if asked > current {
        // The revision is of another plane, or of one that lost its file: the client has to list.
        watch.fail(&too_old(asked, current));
    }
    Ok(response::stream(stream::unfold(watch, |mut watch| async {
        let line = watch.next().await?;
        Some((line, watch))
    })))
}

fn too_old(asked: u64, current: u64) -> ApiError {
    ApiError::expired(format!("too old resource version: {asked} ({current})"))
}

/// `sendInitialEvents` and what it demands.
fn check_initial(query: &Query) -> Result<Option<bool>> {
    let matching = query.get("resourceVersionMatch");
    let invalid = |field: &str, message: &str| {
        let error = FieldError::forbidden(field, message);
        Err(ApiError::invalid_options("ListOptions", &[error]))
    };
    match query.get("sendInitialEvents") {
        "" if matching.is_empty() => Ok(None),
        "" => invalid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        _ if matching != "NotOlderThan" => invalid(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        flag => Ok(Some(flag == "true" || flag == "1")),
    }
}

struct Watch {
    api: Arc<Api>,
    resource: Arc<Resource>,
    namespace: Option<Box<str>>,
    selector: Selector,
    form: Form,
    include: Include,
    /// The next table has to say what its columns are.
    headers: bool,
    bookmarks: Option<Interval>,
    /// Everything up to this revision was sent or is in `lines`.
    position: u64,
    lines: VecDeque<Bytes>,
    news: Receiver<u64>,
    deadline: Instant,
    shutdown: CancellationToken,
    ended: bool,
}

impl Watch {
    /// The present state as ADDED events, and a bookmark that says where it ends.
    fn start(&mut self, bookmark: bool, asked: u64) {
        let (revision, objects) =
            self.api.store.list(&self.resource.storage, self.namespace.as_deref());
        if asked > revision {
            return self.fail(&ApiError::too_large_revision(asked, revision));
        }
        self.position = revision;
        for object in objects {
            if self.selector.matches(&object) {
                self.push("ADDED", &object, None);
            }
        }
        if bookmark {
            self.push_bookmark(true);
        }
    }

    /// Ends the watch with an error event. Once a watch is accepted, clients look for errors in the
    /// stream only.
    fn fail(&mut self, error: &ApiError) {
        self.ended = true;
        self.lines.push_back(line("ERROR", &error.to_value()));
    }

    /// The next line; `None` ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            if self.collect().is_err() {
                self.fail(&too_old(self.position, self.api.store.revision()));
            }
            if !self.lines.is_empty() {
                continue;
            }
            let bookmark = async {
                match &mut self.bookmarks {
                    Some(interval) => interval.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.news.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                }
                _ = bookmark => self.push_bookmark(false),
                () = sleep_until(self.deadline) => {
                    self.ended = true;
                    if self.bookmarks.is_some() {
                        self.push_bookmark(false);
                    }
                }
                () = self.shutdown.cancelled() => return None,
            }
        }
    }

    /// Takes over new events.
    fn collect(&mut self) -> Result<(), crate::store::Compacted> {
        self.news.mark_unchanged();
        let (revision, events) =
            self.api.store.since(self.position, Some(&self.resource.storage))?;
        for event in events {
            self.take(&event);
        }
        self.position = revision;
        Ok(())
    }

    fn take(&mut self, event: &Event) {
        let object = &event.object;
        if self.namespace.as_deref().is_some_and(|namespace| *namespace != *object.key.namespace) {
            return;
        }
        let now = event.change != Change::Deleted && self.selector.matches(object);
        let before = match (&event.previous, event.change) {
            (_, Change::Added) => false,
            (Some(previous), _) => self.selector.matches(previous),
            // Unknown: telling too much does no harm.
            (None, Change::Deleted) => self.selector.matches(object),
            (None, Change::Modified) => true,
        };
        match (before, now) {
            (false, true) => self.push("ADDED", object, None),
            (true, true) => self.push("MODIFIED", object, None),
            (true, false) if event.change == Change::Deleted => self.push("DELETED", object, None),
            // It left the selection: its last state in it, with the new revision.
            (true, false) => {
                let last = event.previous.as_ref().unwrap_or(object);
                self.push("DELETED", last, Some(object.revision));
            }
            (false, false) => {}
        }
    }

    fn push(&mut self, kind: &str, object: &Object, revision: Option<u64>) {
        if self.form == Form::Object && revision.is_none() {
            let Ok(raw) = self.resource.present(object) else { return };
            let mut line = Vec::with_capacity(raw.len() + 40);
            line.extend_from_slice(b"{\"type\":\"");
            line.extend_from_slice(kind.as_bytes());
            line.extend_from_slice(b"\",\"object\":");
            line.extend_from_slice(&raw);
            line.extend_from_slice(b"}\n");
            self.lines.push_back(line.into());
            return;
        }
        let Ok(mut value) = self.resource.present_value(object) else { return };
        if let Some(revision) = revision {
            json::set(&mut value, &["metadata", "resourceVersion"], revision.to_string().into());
        }
        let value = self.shape(value);
        self.lines.push_back(line(kind, &value));
    }

    /// The object in the form that is wanted.
    fn shape(&mut self, value: Value) -> Value {
        match self.form {
            Form::Object | Form::Discovery => value,
            Form::Partial => table::partial(value),
            Form::Table => {
                let headers = std::mem::replace(&mut self.headers, false);
                let version = json::text(&value, &["metadata", "resourceVersion"]);
                let metadata = json!({"resourceVersion": version});
                let now = jiff::Timestamp::now();
                table::table(&self.resource, vec![value], metadata, self.include, headers, now)
            }
        }
    }

    fn push_bookmark(&mut self, end_of_initial: bool) {
        let mut value = json!({
            "kind": &*self.resource.kind, "apiVersion": self.resource.api_version(),
            "metadata": {
                "resourceVersion": self.position.to_string(), "creationTimestamp": null,
            },
        });
        if end_of_initial {
            value["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let value = self.shape(value);
        self.lines.push_back(line("BOOKMARK", &value));
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}
