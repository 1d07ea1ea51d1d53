//! Streamed lists: each chunk is created when the client reads it.

use std::{collections::VecDeque, sync::Arc, vec};

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Request, request::Form, reserved_body, response};
use crate::{
    flow_control::SMALL,
    registry::Resource,
    service::ResponseBody,
    status::Result,
    store::{Object, Unreadable},
    table::{self, Include},
};

/// Size of a chunk with several objects, in bytes.
const CHUNK_SIZE: usize = 64 << 10;
/// Objects of this size or more are sent as stored, without a copy.
const LARGE: usize = 8 << 10;

/// Streams a list of objects in the requested form. A large list reserves memory for its objects
/// once: the client gets a consistent snapshot.
pub(super) async fn list(
    resource: &Arc<Resource>,
    objects: Vec<Arc<Object>>,
    metadata: Value,
    form: Form,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let size: usize = objects.iter().map(|object| object.raw.len()).sum();
    let include = Include::parse(request.query.get("includeObject"));
    let resource = Arc::clone(resource);
    let pieces = ListStream::new(resource, objects, metadata, form, include);
    if size <= SMALL {
        let whole = pieces.fold(Vec::with_capacity(size + 1024), |mut whole, chunk| {
            whole.extend_from_slice(&chunk);
            whole
        });
        return Ok(response::raw(StatusCode::OK, response::JSON, whole.into()));
    }
    let room = request.room(size).await?;
    Ok(reserved_body::attach_reservation(
        response::stream(futures::stream::iter(pieces)),
        room,
        None,
    ))
}

struct ListStream {
    resource: Arc<Resource>,
    objects: vec::IntoIter<Arc<Object>>,
    form: Form,
    include: Include,
    now: Timestamp,
    ready: VecDeque<Bytes>,
    /// The incomplete chunk.
    rest: Vec<u8>,
    first: bool,
    ended: bool,
}

impl ListStream {
    fn new(
        resource: Arc<Resource>,
        objects: Vec<Arc<Object>>,
        metadata: Value,
        form: Form,
        include: Include,
    ) -> Self {
        let now = Timestamp::now();
        let (head, items) = match form {
            Form::Object | Form::Discovery => {
                let (kind, version) = (&*resource.list_kind, resource.api_version());
                (json!({"kind": kind, "apiVersion": version, "metadata": metadata}), "items")
            }
            Form::Partial => (table::partial_list(Vec::new(), metadata), "items"),
            Form::Table => {
                (table::table(&resource, Vec::new(), metadata, include, true, now), "rows")
            }
        };
        let rest = open(head, items);
        let (ready, objects) = (VecDeque::new(), objects.into_iter());
        Self { resource, objects, form, include, now, ready, rest, first: true, ended: false }
    }

    /// Adds an object. An unreadable object is skipped and logged, so that the list stays usable; a
    /// request for it by name returns an error.
    fn add(&mut self, object: &Object) {
        if let Err(error) = self.try_add(object) {
            tracing::error!(%error, "skipping an unreadable object in a list");
        }
        if self.rest.len() >= CHUNK_SIZE {
            self.flush();
        }
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.rest.push(b',');
        }
    }

    fn try_add(&mut self, object: &Object) -> std::result::Result<(), Unreadable> {
        match self.form {
            Form::Object | Form::Discovery => {
                let raw = self.resource.to_served(object)?;
                self.comma();
                if raw.len() < LARGE {
                    self.rest.extend_from_slice(&raw);
                } else {
                    self.flush();
                    self.ready.push_back(raw);
                }
            }
            Form::Partial => {
                let partial = table::partial(self.resource.to_served_value(object)?);
                self.comma();
                self.rest.extend_from_slice(partial.to_string().as_bytes());
            }
            Form::Table => {
                let value = vec![self.resource.to_served_value(object)?];
                self.comma();
                let (include, now) = (self.include, self.now);
                let table = table::table(&self.resource, value, Value::Null, include, false, now);
                self.rest.extend_from_slice(table["rows"][0].to_string().as_bytes());
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.rest.is_empty() {
            self.ready.push_back(std::mem::take(&mut self.rest).into());
        }
    }
}

impl Iterator for ListStream {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() && !self.ended {
            if let Some(object) = self.objects.next() {
                self.add(&object);
            } else {
                self.ended = true;
                self.rest.extend_from_slice(b"]}");
                self.flush();
            }
        }
        self.ready.pop_front()
    }
}

/// JSON of a list up to its first item.
fn open(mut head: Value, items: &str) -> Vec<u8> {
    if let Some(fields) = head.as_object_mut() {
        fields.remove(items);
    }
    let mut text = head.to_string();
    text.pop();
    text.push_str(&format!(",\"{items}\":["));
    text.into()
}
