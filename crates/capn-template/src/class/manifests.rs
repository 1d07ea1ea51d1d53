//! The objects of a class and their references.

use serde_json::Value;

use super::ClassError;

/// A ClusterClass with its templates.
#[derive(Clone, Debug)]
pub(super) struct Class {
    object: Value,
    templates: Vec<Value>,
}

/// A MachineDeployment of a topology, and the templates of its class.
pub(super) struct Worker<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    pub(super) topology: &'a Value,
    pub(super) bootstrap: &'a Value,
    pub(super) infrastructure: &'a Value,
}

/// Returns a list, empty if missing.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns a text, empty if missing.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Class {
    pub(super) fn parse(text: &str) -> Result<Self, ClassError> {
        let objects: Vec<Value> = serde_saphyr::from_multiple(text)
            .map_err(|error| ClassError::Manifests(error.to_string()))?;
        let (mut classes, templates): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .filter(|object| !object.is_null())
            .partition(|object| object["kind"] == "ClusterClass");
        match (classes.pop(), classes.len()) {
            (Some(object), 0) => Ok(Self { object, templates }),
            (None, _) => Err(ClassError::Manifests("there is no ClusterClass".to_owned())),
            (Some(_), more) => Err(ClassError::Manifests(format!("there are {}", more + 1))),
        }
    }

    /// Returns the ClusterClass itself.
    pub(super) fn object(&self) -> &Value {
        &self.object
    }

    /// Returns the template of a reference in the class.
    pub(super) fn template(&self, pointer: &str) -> Result<&Value, ClassError> {
        let reference = self.object.pointer(pointer).ok_or_else(|| {
            ClassError::Missing(format!("reference {pointer} of the ClusterClass"))
        })?;
        self.referenced(reference)
    }

    fn referenced(&self, reference: &Value) -> Result<&Value, ClassError> {
        let found = self.templates.iter().find(|template| {
            template["apiVersion"] == reference["apiVersion"]
                && template["kind"] == reference["kind"]
                && template["metadata"]["name"] == reference["name"]
        });
        found.ok_or_else(|| {
            let [kind, name] = ["/kind", "/name"].map(|pointer| text(reference, pointer));
            ClassError::Missing(format!("template {kind} `{name}` of the ClusterClass"))
        })
    }

    /// Returns the MachineDeployments of a topology.
    pub(super) fn deployments<'a>(
        &'a self,
        cluster: &'a Value,
    ) -> impl Iterator<Item = Result<Worker<'a>, ClassError>> {
        list(cluster, "/spec/topology/workers/machineDeployments").iter().map(|topology| {
            let class = text(topology, "/class");
            let found = list(&self.object, "/spec/workers/machineDeployments")
                .iter()
                .find(|declared| text(declared, "/class") == class)
                .ok_or_else(|| {
                    ClassError::Missing(format!("worker class `{class}` of the ClusterClass"))
                })?;
            let template = |pointer: &str| {
                let reference = found.pointer(pointer).unwrap_or(&Value::Null);
                self.referenced(reference)
            };
            Ok(Worker {
                name: text(topology, "/name"),
                class,
                topology,
                bootstrap: template("/bootstrap/templateRef")?,
                infrastructure: template("/infrastructure/templateRef")?,
            })
        })
    }
}
