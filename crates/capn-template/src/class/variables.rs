//! Variables for patches: those of the topology with defaults, and the built-in ones.

use serde_json::{Map, Value, json};

use super::manifests::{Class, list, text};
use super::{ClassError, schema};

/// The variables of a Cluster.
pub(super) struct Variables<'a> {
    class: &'a Class,
    cluster: &'a Value,
    /// With defaults, and with the built-in variables of the cluster.
    global: Map<String, Value>,
}

impl<'a> Variables<'a> {
    /// Returns the variables of all templates.
    ///
    /// # Errors
    ///
    /// [`ClassError::Variable`] when a variable is missing, unknown or invalid.
    pub(super) fn of(class: &'a Class, cluster: &'a Value) -> Result<Self, ClassError> {
        let given = list(cluster, "/spec/topology/variables");
        let mut global = values(class, given)?;
        for definition in list(class.object(), "/spec/variables") {
            let name = text(definition, "/name");
            if global.contains_key(name) {
                continue;
            }
            let schema = schema_of(definition);
            if let Some(default) = schema.get("default") {
                global.insert(name.to_owned(), schema::with_defaults(schema, default.clone()));
            } else if definition["required"] == true {
                let problem = "it is required but not set".to_owned();
                return Err(ClassError::Variable { name: name.to_owned(), problem });
            }
        }
        let topology = &cluster["spec"]["topology"];
        let network = &cluster["spec"]["clusterNetwork"];
        let class_name = text(topology, "/classRef/name");
        let builtin = json!({
            "cluster": {
                "name": cluster["metadata"]["name"],
                "namespace": cluster["metadata"]["namespace"],
                "topology": { "version": topology["version"], "class": class_name },
                "network": {
                    "pods": network["pods"]["cidrBlocks"],
                    "services": network["services"]["cidrBlocks"],
                    "serviceDomain": network["serviceDomain"],
                },
            },
        });
        global.insert("builtin".to_owned(), builtin);
        Ok(Self { class, cluster, global })
    }

    /// Variables for the cluster infrastructure.
    pub(super) fn global(&self) -> Value {
        Value::Object(self.global.clone())
    }

    /// Variables for the control plane and its machines.
    pub(super) fn control_plane(&self) -> Result<Value, ClassError> {
        let topology = &self.cluster["spec"]["topology"];
        let control_plane = &topology["controlPlane"];
        let own = json!({
            "version": topology["version"],
            "replicas": control_plane["replicas"],
        });
        self.with("controlPlane", own, control_plane)
    }

    /// Variables for a MachineDeployment.
    pub(super) fn workers(&self, deployment: &Value) -> Result<Value, ClassError> {
        let own = json!({
            "version": self.cluster["spec"]["topology"]["version"],
            "replicas": deployment["replicas"],
            "class": deployment["class"],
            "topologyName": deployment["name"],
        });
        self.with("machineDeployment", own, deployment)
    }

    fn with(&self, builtin: &str, own: Value, topology: &Value) -> Result<Value, ClassError> {
        let mut variables = self.global.clone();
        variables.extend(values(self.class, list(topology, "/variables/overrides"))?);
        let mut variables = Value::Object(variables);
        variables["builtin"][builtin] = own;
        Ok(variables)
    }
}

/// Returns the schema of a variable of the class.
fn schema_of(definition: &Value) -> &Value {
    definition.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null)
}

/// Validates the given values and adds the defaults.
fn values(class: &Class, given: &[Value]) -> Result<Map<String, Value>, ClassError> {
    given
        .iter()
        .map(|variable| {
            let name = text(variable, "/name");
            let definition = list(class.object(), "/spec/variables")
                .iter()
                .find(|definition| text(definition, "/name") == name)
                .ok_or_else(|| ClassError::Variable {
                    name: name.to_owned(),
                    problem: "the class does not define it".to_owned(),
                })?;
            let schema = schema_of(definition);
            let value = schema::with_defaults(schema, variable["value"].clone());
            schema::check(schema, name, &value)?;
            Ok((name.to_owned(), value))
        })
        .collect()
}
