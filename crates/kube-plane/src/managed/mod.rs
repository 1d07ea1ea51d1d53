//! Field ownership: `metadata.managedFields`, for server-side apply.
//!
//! Ownership is tracked from the first apply on: an object that is never applied has no managed
//! fields, which keeps it small. The first apply to an existing object assigns all its fields to
//! the manager `before-first-apply`, as Kubernetes does for objects without managed fields.

mod fields;
#[cfg(test)]
mod tests;
mod walk;

use serde_json::{Value, json};

use self::{
    fields::Fields,
    walk::{Difference, Place, collect, merge, release},
};
use crate::{
    FieldError, FieldErrorKind,
    api::{Subresource, Target, WriteOptions},
    json, meta,
    registry::Resource,
    schema::Schema,
    status::ApiError,
};

/// Maximum number of updating managers.
const MAX_UPDATERS: usize = 10;
/// Maximum number of applying managers, and maximum size of a manager name in bytes.
const MAX_APPLIERS: usize = 100;
const MAX_NAME: usize = 256;

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// Fields that no manager owns.
const UNKNOWN_MANAGER: [&[&str]; 10] = [
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
    &["metadata", "generateName"],
];
const DELETION: [&[&str]; 2] =
    [&["metadata", "deletionTimestamp"], &["metadata", "deletionGracePeriodSeconds"]];

/// One entry of the managed fields.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    operation: String,
    subresource: String,
    api_version: String,
    time: String,
    fields: Fields,
}

impl Entry {
    fn is(&self, manager: &str, operation: &str, subresource: &str) -> bool {
        self.manager == manager && self.operation == operation && self.subresource == subresource
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "manager": self.manager, "operation": self.operation,
            "apiVersion": self.api_version, "time": self.time, "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_value(),
        });
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.as_str().into();
        }
        value
    }
}

/// Returns the entries of an object; `None` to reset them (`[{}]`).
fn entries(object: &Value) -> Option<Vec<Entry>> {
    let list = json::at(object, &["metadata", "managedFields"]).and_then(Value::as_array);
    let mut entries = Vec::new();
    for entry in list.into_iter().flatten() {
        let text = |name: &str| json::text(entry, &[name]).to_owned();
        let fields = entry.get("fieldsV1")?;
        if !matches!(json::text(entry, &["operation"]), APPLY | UPDATE) {
            return None;
        }
        // Clients parse it as a time, together with the whole object.
        let time = match json::text(entry, &["time"]) {
            "" => meta::timestamp(),
            time => time.parse::<jiff::Timestamp>().is_ok().then(|| time.to_owned())?,
        };
        let names = ["manager", "subresource", "apiVersion", "time"];
        if entries.len() == 2 * MAX_APPLIERS
            || names.iter().any(|name| json::text(entry, &[name]).len() > MAX_NAME)
        {
            return None;
        }
        entries.push(Entry {
            manager: text("manager"),
            operation: text("operation"),
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time,
            fields: Fields::parse(fields),
        });
    }
    Some(entries)
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    join_oldest(&mut entries);
    if entries.is_empty() {
        json::remove(object, &["metadata", "managedFields"]);
        return;
    }
    // Order as in Kubernetes: applies first, then by time and name.
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (e.operation != APPLY, e.time.clone(), e.manager.clone());
        key(a).cmp(&key(b))
    });
    let list: Vec<Value> = entries.iter().map(Entry::to_value).collect();
    json::set(object, &["metadata", "managedFields"], list.into());
}

/// The number of updating managers grows over time: as in Kubernetes, the oldest of more than ten
/// are merged.
fn join_oldest(entries: &mut Vec<Entry>) {
    let updates = entries.iter().filter(|entry| entry.operation == UPDATE).count();
    let Some(surplus) = updates.checked_sub(MAX_UPDATERS).filter(|surplus| *surplus > 0) else {
        return;
    };
    entries.sort_by(|a, b| (&a.operation, &a.time).cmp(&(&b.operation, &b.time)));
    let (mut old, mut kept) = (Vec::new(), Vec::new());
    for entry in entries.drain(..) {
        // One more, since the merged entry counts too.
        if entry.operation == UPDATE && old.len() <= surplus {
            old.push(entry);
        } else {
            kept.push(entry);
        }
    }
    let mut old = old.into_iter();
    if let Some(mut joined) = old.next() {
        joined.manager = "ancient-changes".to_owned();
        joined.subresource = String::new();
        for entry in old {
            joined.fields.add(&entry.fields);
            joined.time = entry.time;
        }
        kept.push(joined);
    }
    *entries = kept;
}

fn subresource(target: &Target<'_>) -> &'static str {
    match target.subresource {
        Subresource::None => "",
        Subresource::Status => "status",
        Subresource::Finalize => "finalize",
    }
}

fn set_of(schema: &Schema, object: &Value) -> Fields {
    let mut fields = Fields::default();
    collect(Place::root(schema), object, &mut fields);
    disown(&mut fields);
    fields
}

fn disown(fields: &mut Fields) {
    for path in UNKNOWN_MANAGER.iter().chain(&DELETION) {
        fields.remove(path);
    }
    let metadata = fields::Element::Field("metadata".to_owned());
    if let Some(metadata) = fields.children.get_mut(&metadata) {
        metadata.owned = false;
    }
    fields.tidy();
}

/// Records ownership after a create that was not an apply.
pub(crate) fn created(_: &Resource, new: &mut Value, _: &WriteOptions) {
    json::remove(new, &["metadata", "managedFields"]);
}

/// Records ownership after an update that is not an apply: each manager owns what it changes.
pub(crate) fn updated(target: &Target<'_>, new: &mut Value, old: &Value, options: &WriteOptions) {
    if json::at(new, &["metadata", "managedFields"]).is_none()
        && let Some(list) = json::at(old, &["metadata", "managedFields"])
    {
        json::set(new, &["metadata", "managedFields"], list.clone());
    }
    let mut entries = entries(new).unwrap_or_default();
    if entries.is_empty() {
        json::remove(new, &["metadata", "managedFields"]);
        return;
    }
    let schema = &target.resource.compiled().schema;
    let mut difference = Difference::of(schema, old, new);
    disown(&mut difference.changed);
    disown(&mut difference.removed);
    if difference.changed.is_empty() && difference.removed.is_empty() {
        // What a client sent is stored as it was understood.
        return write(new, entries);
    }
    let place = subresource(target);
    // From the user agent it may be of any length.
    let manager = &options.manager[..options.manager.floor_char_boundary(MAX_NAME / 2)];
    for entry in &mut entries {
        entry.fields.subtract(&difference.removed);
        if !entry.is(manager, UPDATE, place) {
            entry.fields.subtract(&difference.changed);
        }
    }
    if !difference.changed.is_empty() {
        let mut fields = difference.changed;
        let own = entries.iter().position(|entry| entry.is(manager, UPDATE, place));
        if let Some(own) = own {
            fields.add(&entries.remove(own).fields);
        }
        entries.push(Entry {
            manager: manager.to_owned(),
            operation: UPDATE.to_owned(),
            subresource: place.to_owned(),
            api_version: target.resource.api_version(),
            time: meta::timestamp(),
            fields,
        });
    }
    write(new, entries);
}

/// The configuration that a manager applies to an object.
#[derive(Clone, Copy)]
pub(crate) struct Intent<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) manager: &'a str,
    pub(crate) force: bool,
    pub(crate) wanted: &'a Value,
}

impl Intent<'_> {
    fn schema(&self) -> &Schema {
        &self.target.resource.compiled().schema
    }

    fn fields(&self) -> Fields {
        set_of(self.schema(), self.wanted)
    }

    /// Returns whether one more manager may apply to an object.
    pub(crate) fn check(&self, old: &Value) -> Result<(), ApiError> {
        let place = subresource(&self.target);
        let entries = entries(old).unwrap_or_default();
        let others = entries
            .iter()
            .filter(|entry| entry.operation == APPLY && !entry.is(self.manager, APPLY, place));
        if others.count() < MAX_APPLIERS {
            return Ok(());
        }
        let why = format!("at most {MAX_APPLIERS} managers may apply to one object");
        let error = FieldError::plain("metadata.managedFields", FieldErrorKind::TooMany, why);
        Err(ApiError::invalid(self.target.resource, self.target.name, &[error]))
    }

    /// Merges the configuration into the object, or returns the conflicts as (message, field).
    pub(crate) fn merge(&self, old: &Value) -> Result<Value, Vec<(String, String)>> {
        let schema = self.schema();
        let place = subresource(&self.target);
        let entries = owners(schema, old, &self.target);
        let fields = self.fields();
        let mut merged = old.clone();
        merge(Place::root(schema), &mut merged, self.wanted);
        let is_own = |entry: &&Entry| entry.is(self.manager, APPLY, place);
        if let Some(before) = entries.iter().find(is_own) {
            let others: Vec<&Fields> =
                entries.iter().filter(|e| !is_own(e)).map(|entry| &entry.fields).collect();
            let root = Place::root(schema);
            release(root, &mut merged, &before.fields, Some(&fields), &others);
        }
        if self.force {
            return Ok(merged);
        }
        let difference = Difference::of(schema, old, &merged);
        let changed = difference.changed.common(&fields);
        let mut conflicts = Vec::new();
        for entry in entries.iter().filter(|entry| !is_own(entry)) {
            let common = entry.fields.common(&changed);
            let by = if entry.operation == APPLY {
                format!("conflict with \"{}\"", entry.manager)
            } else {
                let place = if entry.subresource.is_empty() {
                    String::new()
                } else {
                    format!(" with subresource \"{}\"", entry.subresource)
                };
                format!("conflict with \"{}\"{place} using {}", entry.manager, entry.api_version)
            };
            conflicts.extend(common.describe().into_iter().map(|field| (by.clone(), field)));
        }
        if conflicts.is_empty() { Ok(merged) } else { Err(conflicts) }
    }

    /// Records the ownership after the merge.
    pub(crate) fn note(&self, new: &mut Value, old: &Value) {
        let schema = self.schema();
        let place = subresource(&self.target);
        let mut entries = owners(schema, old, &self.target);
        let mut difference = Difference::of(schema, old, new);
        disown(&mut difference.changed);
        disown(&mut difference.removed);
        let fields = self.fields();
        let taken = difference.changed.common(&fields);
        for entry in &mut entries {
            entry.fields.subtract(&difference.removed);
            if !entry.is(self.manager, APPLY, place) {
                entry.fields.subtract(&taken);
            }
        }
        self.own(&mut entries, fields, !difference.changed.is_empty());
        write(new, entries);
    }

    /// Records that the manager owns everything in a new object.
    pub(crate) fn note_created(&self, new: &mut Value) {
        let mut entries = Vec::new();
        self.own(&mut entries, self.fields(), true);
        write(new, entries);
    }

    fn own(&self, entries: &mut Vec<Entry>, fields: Fields, changed: bool) {
        let place = subresource(&self.target);
        let own = entries.iter_mut().find(|entry| entry.is(self.manager, APPLY, place));
        match own {
            // An apply without changes keeps the time.
            Some(entry) if entry.fields == fields && !changed => {}
            Some(entry) => {
                entry.fields = fields;
                entry.time = meta::timestamp();
                entry.api_version = self.target.resource.api_version();
            }
            None => entries.push(Entry {
                manager: self.manager.to_owned(),
                operation: APPLY.to_owned(),
                subresource: place.to_owned(),
                api_version: self.target.resource.api_version(),
                time: meta::timestamp(),
                fields,
            }),
        }
    }
}

/// Returns the owners of an object's fields; before the first apply, one manager owns all.
fn owners(schema: &Schema, object: &Value, target: &Target<'_>) -> Vec<Entry> {
    let known = entries(object).unwrap_or_default();
    if !known.is_empty() {
        return known;
    }
    let time = json::text(object, &["metadata", "creationTimestamp"]).to_owned();
    vec![Entry {
        manager: "before-first-apply".to_owned(),
        operation: UPDATE.to_owned(),
        subresource: String::new(),
        api_version: target.resource.api_version(),
        time,
        fields: set_of(schema, object),
    }]
}
