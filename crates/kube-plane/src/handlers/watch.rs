//! Watches: streams of events.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

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
    access::WatchPermission,
    event_cache::{EventKey, line},
    request::{Form, Query},
    response,
};
use crate::{
    admission::FieldError,
    api::Api,
    flow_control::{Memory, Reservation, SMALL},
    json,
    registry::{Access, Resource},
    selectors::Selector,
    service::ResponseBody,
    status::{ApiError, Result},
    store::{Change, Event, Key, Object},
    table::{self, Include},
};

/// Interval of bookmarks of an idle watch.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Maximum duration of a watch. Clients start a new one at its end.
const MAX_DURATION: Duration = Duration::from_secs(3600);
/// Number of objects and events to process before yielding to other tasks.
const PAGE: usize = 128;
/// Bytes to have ready for sending; more are created after they are read.
const READY: usize = 64 << 10;
/// Objects of this size or more are sent as stored, or as serialized events that all watches share.
const LARGE: usize = 8 << 10;

/// The user of a watch.
pub(crate) struct Watcher {
    /// `None` if it cannot be revoked.
    pub(crate) permission: Option<WatchPermission>,
    /// `None` for no limit.
    pub(crate) memory: Option<Memory>,
}

/// Watches a resource in all namespaces or one.
pub(crate) fn watch(
    api: &Arc<Api>,
    resource: Arc<Resource>,
    namespace: Option<&str>,
    form: Form,
    query: &Query,
    watcher: Watcher,
    shutdown: &CancellationToken,
) -> Result<Response<ResponseBody>> {
    if resource.access == Access::Review {
        return Err(ApiError::method_not_allowed());
    }
    let selector =
        Selector::parse(&resource, query.get("labelSelector"), query.get("fieldSelector"))?;
    let initial = check_initial(query)?;
    let asked = query.number("resourceVersion")?.unwrap_or(0);
    // Subscribe before the first read, so that nothing in between is missed.
    let news = api.store.subscribe();
    // As in Kubernetes: between 30 and 60 minutes, so that clients do not return all at once.
    let usual = || MAX_DURATION.mul_f64(rand::rng().random_range(0.5..1.0));
    let timeout = query.timeout(MAX_DURATION)?.unwrap_or_else(usual);
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
        initial: None,
        ahead: HashMap::new(),
        ready: VecDeque::new(),
        bytes: 0,
        news,
        deadline: Instant::now() + timeout,
        watcher,
        room: Reservation::default(),
        room_for: 0,
        lacks: None,
        shutdown: shutdown.clone(),
        ended: false,
    };
    let current = api.store.revision();
    if initial == Some(true) || (asked == 0 && initial.is_none()) {
        if asked > current {
            watch.fail(&ApiError::too_large_revision(asked, current));
        } else {
            watch.position = current;
            watch.initial = Some(Initial { after: None, bookmark: initial == Some(true) });
            watch.page();
        }
    } else if asked == 0 {
        watch.position = current;
    } else if asked > current {
        // The revision comes from another plane or a lost database: the client has to list.
        watch.fail(&too_old(asked, current));
    }
    Ok(response::stream(stream::unfold(watch, |mut watch| async {
        let piece = watch.next().await?;
        Some((piece, watch))
    })))
}

fn too_old(asked: u64, current: u64) -> ApiError {
    ApiError::expired(format!("too old resource version: {asked} ({current})"))
}

/// Validates `sendInitialEvents` and its requirements.
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

/// The initial state, which is sent page by page.
struct Initial {
    /// The last processed object.
    after: Option<Key>,
    /// Whether a bookmark marks its end.
    bookmark: bool,
}

/// A watch keeps no objects in memory: the next ones are read after the client has received the
/// previous ones. A client that is too slow gets an error when the history has expired.
struct Watch {
    api: Arc<Api>,
    resource: Arc<Resource>,
    namespace: Option<Box<str>>,
    selector: Selector,
    form: Form,
    include: Include,
    /// Whether the next table must include its column definitions.
    headers: bool,
    bookmarks: Option<Interval>,
    /// Everything up to this revision is sent or ready, except for the initial state.
    position: u64,
    initial: Option<Initial>,
    /// Objects whose initial state is newer than `position`: older events about them are skipped.
    ahead: HashMap<Key, u64>,
    /// Chunks of events.
    ready: VecDeque<Bytes>,
    bytes: usize,
    news: Receiver<u64>,
    deadline: Instant,
    watcher: Watcher,
    /// Reserved for a large object until the client has read its event.
    room: Reservation,
    /// Size of the large object for which memory is reserved, in bytes.
    room_for: usize,
    /// Memory to reserve before going on.
    lacks: Option<usize>,
    shutdown: CancellationToken,
    ended: bool,
}

impl Watch {
    /// Ends the watch with an error event. After a watch is accepted, clients expect errors only in
    /// the stream.
    fn fail(&mut self, error: &ApiError) {
        self.ended = true;
        self.add(line("ERROR", &error.to_value()).into());
    }

    /// Returns the next chunk; `None` ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.bytes -= piece.len();
                return Some(piece);
            }
            if self.ended {
                return None;
            }
            // Whoever asks for more has read what came before.
            (self.room, self.room_for) = (Reservation::default(), 0);
            if let (Some(bytes), Some(memory)) = (self.lacks.take(), &self.watcher.memory) {
                match memory.bytes(bytes).await {
                    Ok(room) => (self.room, self.room_for) = (room, bytes),
                    // Events of other watches of the user have not been read yet.
                    Err(_) if self.is_open() => {
                        self.lacks = Some(bytes);
                        continue;
                    }
                    Err(error) => {
                        self.fail(&error);
                        continue;
                    }
                }
            }
            if let Some(permission) = &mut self.watcher.permission
                && let Err(error) = permission.check(&self.api)
            {
                // What is read from here on may have been written after the permission was revoked.
                self.fail(&error);
                continue;
            }
            let more = if self.initial.is_some() {
                self.page()
            } else if let Ok(more) = self.collect() {
                more
            } else {
                self.fail(&too_old(self.position, self.api.store.revision()));
                false
            };
            if !self.ready.is_empty() {
                continue;
            }
            if more {
                // Yield to other tasks when no object was relevant.
                tokio::task::yield_now().await;
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

    /// Returns whether an event of this size may be created now. Otherwise its memory is reserved
    /// first: a client may leave each of its watches with the event of another large object.
    fn has_room(&mut self, bytes: usize) -> bool {
        if self.watcher.memory.is_none() || bytes <= SMALL {
            return true;
        }
        let is_reserved = self.room_for >= bytes;
        self.room_for = 0;
        if !is_reserved {
            self.lacks = Some(bytes);
        }
        is_reserved
    }

    /// Sends more objects of the initial state as ADDED events. Returns whether there may be more.
    fn page(&mut self) -> bool {
        let Some(initial) = &self.initial else { return false };
        let (bookmark, namespace) = (initial.bookmark, self.namespace.as_deref());
        let (store, storage) = (&self.api.store, &self.resource.storage);
        let objects = store.page(storage, namespace, initial.after.as_ref(), PAGE);
        if objects.is_empty() {
            self.initial = None;
            if bookmark {
                self.push_bookmark(true);
            }
            return true;
        }
        for object in objects {
            if self.selector.matches(&object) {
                if !self.has_room(object.raw.len()) {
                    break;
                }
                if object.revision > self.position {
                    self.ahead.insert(object.key.clone(), object.revision);
                }
                self.push("ADDED", &object, None);
            }
            if let Some(initial) = &mut self.initial {
                initial.after = Some(object.key.clone());
            }
            if self.bytes >= READY {
                break;
            }
        }
        true
    }

    /// Processes new events. Returns whether there may be more.
    fn collect(&mut self) -> Result<bool, crate::store::Compacted> {
        self.news.mark_unchanged();
        let (revision, events) =
            self.api.store.since(self.position, Some(&self.resource.storage))?;
        for (index, event) in events.iter().enumerate() {
            if index >= PAGE || self.bytes >= READY {
                return Ok(true);
            }
            if let Some(bytes) = self.size_of(event)
                && !self.has_room(bytes)
            {
                return Ok(true);
            }
            self.take(event);
            self.position = event.revision();
        }
        self.position = revision;
        self.ahead.clear();
        Ok(false)
    }

    /// Returns whether the watch may go on for a while.
    fn is_open(&self) -> bool {
        Instant::now() < self.deadline && !self.shutdown.is_cancelled()
    }

    /// Returns the size of the larger object of an event, if the watch selects one of them.
    fn size_of(&self, event: &Event) -> Option<usize> {
        let objects = [Some(&event.object), event.previous.as_ref()].into_iter().flatten();
        let selected = objects.filter(|object| self.concerns(object));
        selected.filter(|object| self.selector.matches(object)).map(|it| it.raw.len()).max()
    }

    /// Returns whether an object is in the namespace of the watch.
    fn concerns(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| *namespace == *object.key.namespace)
    }

    fn take(&mut self, event: &Event) {
        let object = &event.object;
        if !self.concerns(object) {
            return;
        }
        if self
            .ahead
            .get(&object.key)
            .is_some_and(|reported_revision| *reported_revision >= object.revision)
        {
            return;
        }
        let now = event.change != Change::Deleted && self.selector.matches(object);
        let before = match (&event.previous, event.change) {
            (_, Change::Added) => false,
            (Some(previous), _) => self.selector.matches(previous),
            // Unknown: an extra event does no harm.
            (None, Change::Deleted) => self.selector.matches(object),
            (None, Change::Modified) => true,
        };
        match (before, now) {
            (false, true) => self.push("ADDED", object, None),
            (true, true) => self.push("MODIFIED", object, None),
            (true, false) if event.change == Change::Deleted => self.push("DELETED", object, None),
            // It no longer matches: send its last matching state with the new revision.
            (true, false) => {
                let last = event.previous.as_ref().unwrap_or(object);
                self.push("DELETED", last, Some(object.revision));
            }
            (false, false) => {}
        }
    }

    fn push(&mut self, event: &'static str, object: &Object, reported_revision: Option<u64>) {
        // An unreadable object does not end the watch; a request for it by name returns an error.
        if let Err(error) = object.check() {
            tracing::error!(%error, "skipping an unreadable object in a watch");
            return;
        }
        let small = object.raw.len() < LARGE;
        if self.form == Form::Object
            && reported_revision.is_none()
            && (small || self.resource.is_served_as_stored(object))
        {
            let Ok(raw) = self.resource.to_served(object) else { return };
            return self.push_stored(event, &raw);
        }
        let make = || {
            // Objects that passed the check can be parsed.
            let mut value = self.resource.to_served_value(object).unwrap_or_default();
            if let Some(reported_revision) = reported_revision {
                json::set(
                    &mut value,
                    &["metadata", "resourceVersion"],
                    reported_revision.to_string().into(),
                );
            }
            self.shape(value)
        };
        let line = if small {
            line(event, &make()).into()
        } else {
            let key = EventKey {
                revision: object.revision,
                reported_revision,
                event,
                version: self.resource.api_version().into(),
                schema: self.resource.schema_id,
                form: self.form,
                include: self.include,
                headers: self.headers,
            };
            self.api.lines.get(key, make)
        };
        self.headers = false;
        self.add(line);
    }

    /// Sends an object as stored; a large one without a copy.
    fn push_stored(&mut self, event: &'static str, raw: &Bytes) {
        let start = format!("{{\"type\":\"{event}\",\"object\":");
        if raw.len() >= LARGE {
            self.add(start.into());
            self.add(raw.clone());
            return self.add(Bytes::from_static(b"}\n"));
        }
        let mut line = start.into_bytes();
        line.reserve(raw.len() + 2);
        line.extend_from_slice(raw);
        line.extend_from_slice(b"}\n");
        self.add(line.into());
    }

    fn add(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.ready.push_back(piece);
    }

    /// Returns the object in the requested form.
    fn shape(&self, value: Value) -> Value {
        match self.form {
            Form::Object | Form::Discovery => value,
            Form::Partial => table::partial(value),
            Form::Table => {
                let version = json::text(&value, &["metadata", "resourceVersion"]);
                let metadata = json!({"resourceVersion": version});
                let now = jiff::Timestamp::now();
                table::table(&self.resource, vec![value], metadata, self.include, self.headers, now)
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
        self.headers = false;
        self.add(line("BOOKMARK", &value).into());
    }
}
