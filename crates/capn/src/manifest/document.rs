//! One manifest.

use serde_json::Value;

/// An object as it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Document(Value);

impl Document {
    /// A document from its JSON form.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// The object.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The text at a JSON pointer; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// The version within the group.
    pub fn version(&self) -> &str {
        self.api_version().rsplit('/').next().unwrap_or_default()
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// The namespace, if one is given.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text("/metadata/namespace")).filter(|namespace| !namespace.is_empty())
    }

    /// `cluster.cluster.x-k8s.io/demo`, as kubectl names an object.
    pub fn shown(&self) -> String {
        let kind = self.kind().to_lowercase();
        match self.group() {
            "" => format!("{kind}/{}", self.name()),
            group => format!("{kind}.{group}/{}", self.name()),
        }
    }
}
