//! One manifest.

use serde_json::Value;

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Document(Value);

impl Document {
    /// Creates a document from its JSON form.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Returns the object.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Returns the text at a JSON pointer; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `group/version`, or only the version for the core group.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// Returns the API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// Returns the version within the group.
    pub fn version(&self) -> &str {
        self.api_version().rsplit('/').next().unwrap_or_default()
    }

    /// Returns the kind.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Returns the namespace, if set.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text("/metadata/namespace")).filter(|namespace| !namespace.is_empty())
    }

    /// Returns the object as kubectl displays it: `cluster.cluster.x-k8s.io/demo`.
    pub fn shown(&self) -> String {
        let kind = self.kind().to_lowercase();
        match self.group() {
            "" => format!("{kind}/{}", self.name()),
            group => format!("{kind}.{group}/{}", self.name()),
        }
    }
}
