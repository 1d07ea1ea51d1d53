//! Selection and application of patches.

use serde_json::{Value, json};

use super::manifests::{Class, list, text};
use super::{ClassError, functions};

/// Role of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role<'a> {
    InfrastructureCluster,
    /// The control plane, or its machines.
    ControlPlane,
    /// The bootstrap configuration or the machines of a MachineDeployment.
    Workers {
        class: &'a str,
    },
}

/// A template before the patches, with its variables.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) role: Role<'a>,
    pub(super) template: &'a Value,
    pub(super) variables: &'a Value,
}

/// Applies every matching patch of the class, in order.
pub(super) fn apply(class: &Class, item: Item<'_>) -> Result<Value, ClassError> {
    let mut template = item.template.clone();
    for patch in list(class.object(), "/spec/patches") {
        let name = text(patch, "/name");
        let wrong = |problem: String| ClassError::Patch { patch: name.to_owned(), problem };
        if patch.get("external").is_some() {
            return Err(wrong("external patches are not supported".to_owned()));
        }
        let matching: Vec<&Value> = list(patch, "/definitions")
            .iter()
            .filter(|definition| matches(&definition["selector"], item))
            .collect();
        if matching.is_empty() || !enabled(patch, item.variables).map_err(wrong)? {
            continue;
        }
        for definition in matching {
            let operations: Vec<Value> = list(definition, "/jsonPatches")
                .iter()
                .map(|operation| rendered(operation, item.variables))
                .collect::<Result<_, _>>()
                .map_err(wrong)?;
            let operations: json_patch::Patch = serde_json::from_value(Value::Array(operations))
                .map_err(|error| wrong(error.to_string()))?;
            json_patch::patch(&mut template, &operations)
                .map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(template)
}

fn matches(selector: &Value, item: Item<'_>) -> bool {
    let same = |field: &str| selector[field] == item.template[field];
    let resources = &selector["matchResources"];
    let role = match item.role {
        Role::InfrastructureCluster => resources["infrastructureCluster"] == true,
        Role::ControlPlane => resources["controlPlane"] == true,
        Role::Workers { class } => list(resources, "/machineDeploymentClass/names")
            .iter()
            .filter_map(Value::as_str)
            .any(|name| covers(name, class)),
    };
    same("apiVersion") && same("kind") && role
}

/// Returns whether a name in a selector, which may begin or end with `*`, matches a worker class.
fn covers(name: &str, class: &str) -> bool {
    match (name.strip_prefix('*'), name.strip_suffix('*')) {
        _ if name == class => true,
        (Some(end), _) if class.ends_with(end) => true,
        (_, Some(start)) => class.starts_with(start),
        _ => false,
    }
}

/// A patch is enabled unless its condition renders to anything but `true`.
fn enabled(patch: &Value, variables: &Value) -> Result<bool, String> {
    match patch["enabledIf"].as_str() {
        None | Some("") => Ok(true),
        Some(condition) => Ok(functions::render(condition, variables)? == true),
    }
}

/// Returns an operation with its value, as in a JSON patch.
fn rendered(operation: &Value, variables: &Value) -> Result<Value, String> {
    let mut plain = json!({ "op": operation["op"], "path": operation["path"] });
    if operation["op"] == "remove" {
        return Ok(plain);
    }
    let from = &operation["valueFrom"];
    plain["value"] =
        match (operation.get("value"), from["variable"].as_str(), from["template"].as_str()) {
            (Some(value), None, None) => value.clone(),
            (None, Some(variable), None) => lookup(variables, variable)?,
            (None, None, Some(template)) => functions::render(template, variables)?,
            _ => {
                return Err(format!(
                    "{} needs one of value, variable and template",
                    operation["path"]
                ));
            }
        };
    Ok(plain)
}

/// Returns the value at `name.field[0].field`.
fn lookup(variables: &Value, path: &str) -> Result<Value, String> {
    let mut value = variables;
    for segment in path.split('.') {
        let mut parts = segment.split('[');
        let name = parts.next().unwrap_or_default();
        let mut next = value.get(name);
        for index in parts {
            let index: Option<usize> = index.strip_suffix(']').and_then(|n| n.parse().ok());
            next = index.and_then(|index| next?.get(index));
        }
        value = next.ok_or_else(|| format!("variable {path} does not exist"))?;
    }
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_by_dotted_paths_with_indexes() {
        let variables = json!({ "a": { "b": [{ "c": 1 }, [2]] } });
        assert_eq!(lookup(&variables, "a.b[0].c"), Ok(json!(1)));
        assert_eq!(lookup(&variables, "a.b[1][0]"), Ok(json!(2)));
        assert_eq!(lookup(&variables, "a.b[2]"), Err("variable a.b[2] does not exist".to_owned()));
    }

    #[test]
    fn class_names_may_have_a_leading_or_trailing_wildcard() {
        for (name, class, is) in [
            ("*", "a", true),
            ("a", "a", true),
            ("default-*", "default-worker", true),
            ("*-worker", "default-worker", true),
            ("*-worker", "default", false),
            ("b", "a", false),
        ] {
            assert_eq!(covers(name, class), is, "{name} {class}");
        }
    }
}
