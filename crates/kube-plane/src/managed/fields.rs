//! Sets of fields, in the `FieldsV1` format.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::admission::short;

/// Maximum number of described paths.
const MAX_DESCRIBED: usize = 1000;

/// A path element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    /// A field of an object or a key of a map.
    Field(String),
    /// The item of a map list with these key fields, as compact JSON.
    Key(String),
    /// The item of a set, as compact JSON.
    Value(String),
    /// An item by position; kept if it exists, but never created.
    Index(String),
}

impl Element {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let compact = || serde_json::from_str::<Value>(rest).ok().map(|value| value.to_string());
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => compact().map(Self::Key),
            "v" => compact().map(Self::Value),
            "i" => Some(Self::Index(rest.to_owned())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Formats the element as in conflict messages: `.name`, `[key="value"]`, `[=value]`.
    fn describe(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(key) => {
                let fields: Option<Map<String, Value>> = serde_json::from_str(key).ok();
                let fields = fields.unwrap_or_default();
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("[{}]", fields.join(","))
            }
            Self::Value(value) => format!("[={value}]"),
            Self::Index(index) => format!("[{index}]"),
        }
    }
}

/// A set of paths as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Whether the path of this node is in the set.
    pub(crate) owned: bool,
    pub(crate) children: BTreeMap<Element, Fields>,
}

impl Fields {
    /// Parses `FieldsV1`. Unknown elements are ignored.
    pub(crate) fn parse(value: &Value) -> Self {
        let mut fields = Self::default();
        let Some(entries) = value.as_object() else { return fields };
        fields.owned = entries.is_empty();
        for (name, value) in entries {
            if name == "." {
                fields.owned = true;
            } else if let Some(element) = Element::parse(name) {
                fields.children.insert(element, Self::parse(value));
            }
        }
        fields
    }

    /// Converts to `FieldsV1`.
    pub(crate) fn to_value(&self) -> Value {
        let mut entries = Map::new();
        if self.owned && !self.children.is_empty() {
            entries.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            entries.insert(element.text(), child.to_value());
        }
        Value::Object(entries)
    }

    pub(crate) fn child(&mut self, element: Element) -> &mut Self {
        self.children.entry(element).or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.owned && self.children.values().all(Self::is_empty)
    }

    /// Removes empty nodes.
    pub(crate) fn tidy(&mut self) {
        self.children.retain(|_, child| {
            child.tidy();
            child.owned || !child.children.is_empty()
        });
    }

    /// Adds all paths of another set.
    pub(crate) fn add(&mut self, other: &Self) {
        self.owned |= other.owned;
        for (element, child) in &other.children {
            self.child(element.clone()).add(child);
        }
    }

    /// Removes all paths of another set.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.owned &= !other.owned;
        self.children.retain(|element, child| {
            if let Some(other) = other.children.get(element) {
                child.subtract(other);
            }
            child.owned || !child.children.is_empty()
        });
    }

    /// Returns the intersection of both sets.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(element, child)| {
            let common = child.common(other.children.get(element)?);
            (common.owned || !common.children.is_empty()).then(|| (element.clone(), common))
        });
        Self { owned: self.owned && other.owned, children: children.collect() }
    }

    /// Removes a path and everything below it.
    pub(crate) fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let element = Element::Field((*first).to_owned());
        if rest.is_empty() {
            self.children.remove(&element);
        } else if let Some(child) = self.children.get_mut(&element) {
            child.remove(rest);
        }
    }

    /// Formats the paths; only the first ones if there are many.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.describe_into("", &mut all);
        all
    }

    fn describe_into(&self, path: &str, all: &mut Vec<String>) {
        if self.owned && !path.is_empty() {
            all.push(path.to_owned());
        }
        for (element, child) in &self.children {
            if all.len() == MAX_DESCRIBED {
                return;
            }
            child.describe_into(&short(&format!("{path}{}", short(&element.describe()))), all);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:v": {}}}, "f:set": {"v:\"s\"": {}}}})
    }

    #[test]
    fn managed_fields_round_trip() {
        assert_eq!(Fields::parse(&sample()).to_value(), sample());
    }

    #[test]
    fn set_operations() {
        let all = Fields::parse(&sample());
        let labels = Fields::parse(&json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
        assert_eq!(all.common(&labels), labels);
        let mut rest = all.clone();
        rest.subtract(&labels);
        assert_eq!(rest.common(&labels), Fields::default());
        rest.add(&labels);
        assert_eq!(rest, all);
        assert_eq!(
            all.describe(),
            [
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.list[name=\"x\"]",
                ".spec.list[name=\"x\"].v",
                ".spec.set[=\"s\"]",
            ]
        );
    }
}
