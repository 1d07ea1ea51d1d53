//! Walks objects with their schema: collects, compares and merges fields.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde_json::{Map, Value, json};

use super::fields::{Element, Fields};
use crate::schema::{ListType, Schema, list_key};

/// Merge rules of metadata, for every kind.
static METADATA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::parse(&json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "finalizers": {
                "type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set",
            },
            "ownerReferences": {
                "type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        },
    }))
});

/// A position in an object. Without a schema, maps are merged and lists are replaced.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    schema: Option<&'a Schema>,
    root: bool,
}

impl<'a> Place<'a> {
    pub(crate) fn root(schema: &'a Schema) -> Self {
        Self { schema: Some(schema), root: true }
    }

    fn field(self, name: &str) -> Self {
        let schema = if self.root && name == "metadata" {
            Some(&*METADATA)
        } else {
            self.schema.and_then(|schema| schema.field(name))
        };
        Self { schema, root: false }
    }

    fn item(self) -> Self {
        Self { schema: self.schema.and_then(|schema| schema.items.as_deref()), root: false }
    }

    /// Map entries are owned themselves; declared fields only through their values.
    fn is_declared(self, name: &str) -> bool {
        self.root || self.schema.is_some_and(|schema| schema.property(name).is_some())
    }

    fn is_atomic_map(self) -> bool {
        self.schema.is_some_and(|schema| schema.atomic_map)
    }

    /// Returns the path element of each item; `None` if the list is atomic.
    fn elements(self, items: &[Value]) -> Option<Vec<Element>> {
        let schema = self.schema?;
        match schema.list_type {
            ListType::Atomic => None,
            ListType::Set => {
                Some(items.iter().map(|item| Element::Value(item.to_string())).collect())
            }
            ListType::Map => Some(
                items.iter().map(|item| Element::Key(list_key(schema, item).to_string())).collect(),
            ),
        }
    }
}

/// Adds the fields of a value to a set.
pub(crate) fn collect(place: Place<'_>, value: &Value, fields: &mut Fields) {
    match value {
        Value::Object(entries) if !place.is_atomic_map() => {
            for (name, value) in entries {
                let child = fields.child(Element::Field(name.clone()));
                collect(place.field(name), value, child);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                child.owned |= empty || !place.is_declared(name);
            }
        }
        Value::Array(items) => match place.elements(items) {
            None => fields.owned = true,
            Some(elements) => {
                for (element, item) in elements.into_iter().zip(items) {
                    let child = fields.child(element);
                    if item.is_object() {
                        collect(place.item(), item, child);
                    }
                    child.owned = true;
                }
            }
        },
        _ => fields.owned = true,
    }
}

/// The differences of two objects.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// New and changed fields.
    pub(crate) changed: Fields,
    /// Removed fields.
    pub(crate) removed: Fields,
}

impl Difference {
    pub(crate) fn of(schema: &Schema, old: &Value, new: &Value) -> Self {
        let mut difference = Self::default();
        let place = Place::root(schema);
        compare(place, old, new, &mut difference.changed, &mut difference.removed);
        difference.changed.tidy();
        difference.removed.tidy();
        difference
    }
}

fn compare(place: Place<'_>, old: &Value, new: &Value, changed: &mut Fields, removed: &mut Fields) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if !place.is_atomic_map() => {
            for (name, new) in new {
                let element = Element::Field(name.clone());
                let below = changed.child(element.clone());
                match old.get(name) {
                    Some(old) => {
                        compare(place.field(name), old, new, below, removed.child(element));
                    }
                    None => {
                        collect(place.field(name), new, below);
                        below.owned |= !place.is_declared(name);
                    }
                }
            }
            for (name, old) in old {
                if !new.contains_key(name) {
                    let below = removed.child(Element::Field(name.clone()));
                    collect(place.field(name), old, below);
                    below.owned |= !place.is_declared(name);
                }
            }
        }
        (Value::Array(old_items), Value::Array(new_items)) => {
            match (place.elements(old_items), place.elements(new_items)) {
                (Some(old_elements), Some(new_elements)) => {
                    let known: BTreeMap<&Element, &Value> =
                        old_elements.iter().zip(old_items).collect();
                    for (element, new) in new_elements.iter().zip(new_items) {
                        let below = changed.child(element.clone());
                        match known.get(element).copied() {
                            Some(old) => {
                                let gone = removed.child(element.clone());
                                compare(place.item(), old, new, below, gone);
                            }
                            None => {
                                collect(place.item(), new, below);
                                below.owned = true;
                            }
                        }
                    }
                    let left: BTreeSet<&Element> = new_elements.iter().collect();
                    for (element, old) in old_elements.iter().zip(old_items) {
                        if !left.contains(element) {
                            let below = removed.child(element.clone());
                            collect(place.item(), old, below);
                            below.owned = true;
                        }
                    }
                }
                _ => changed.owned |= old_items != new_items,
            }
        }
        (old, new) => changed.owned |= old != new,
    }
}

/// Merges the applied configuration into a value.
pub(crate) fn merge(place: Place<'_>, value: &mut Value, wanted: &Value) {
    match (&mut *value, wanted) {
        (Value::Object(fields), Value::Object(wanted)) if !place.is_atomic_map() => {
            for (name, wanted) in wanted {
                match fields.get_mut(name) {
                    Some(value) => merge(place.field(name), value, wanted),
                    None => {
                        fields.insert(name.clone(), wanted.clone());
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(wanted)) => {
            let (Some(known), Some(elements)) = (place.elements(items), place.elements(wanted))
            else {
                *items = wanted.clone();
                return;
            };
            let known = known.into_iter().enumerate().rev();
            let mut known: BTreeMap<Element, usize> = known.map(|(n, e)| (e, n)).collect();
            for (element, wanted) in elements.into_iter().zip(wanted) {
                match known.get(&element).and_then(|index| items.get_mut(*index)) {
                    Some(item) => merge(place.item(), item, wanted),
                    None => {
                        known.insert(element, items.len());
                        items.push(wanted.clone());
                    }
                }
            }
        }
        (value, wanted) => *value = wanted.clone(),
    }
}

/// Removes fields that a manager has dropped, unless others own them.
pub(crate) fn release(
    place: Place<'_>,
    value: &mut Value,
    before: &Fields,
    now: Option<&Fields>,
    others: &[&Fields],
) {
    let gone = |element: &Element, node: &Fields| {
        let now = now.and_then(|fields| fields.children.get(element));
        let held = others.iter().any(|other| other.children.contains_key(element));
        node.owned && now.is_none() && !held
    };
    let below = |element: &Element| -> (Option<&Fields>, Vec<&Fields>) {
        (
            now.and_then(|fields| fields.children.get(element)),
            others.iter().filter_map(|other| other.children.get(element)).collect(),
        )
    };
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let element = Element::Field(name.clone());
                let Some(node) = before.children.get(&element) else { return true };
                if gone(&element, node) {
                    return false;
                }
                let (now, others) = below(&element);
                release(place.field(name), value, node, now, &others);
                true
            });
        }
        Value::Array(items) => {
            let Some(elements) = place.elements(items) else { return };
            let mut elements = elements.into_iter();
            items.retain_mut(|item| {
                let Some(element) = elements.next() else { return true };
                let Some(node) = before.children.get(&element) else { return true };
                if gone(&element, node) {
                    return false;
                }
                let (now, others) = below(&element);
                release(place.item(), item, node, now, &others);
                true
            });
        }
        _ => {}
    }
}
