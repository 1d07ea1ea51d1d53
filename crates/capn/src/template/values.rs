//! Values of template variables. Options take precedence over the environment, which takes
//! precedence over the clusterctl configuration file.

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde_json::Value;

use crate::environment::Environment;
use crate::error::{CommandError, Doing as _};
use crate::text_file;

/// Variables from the command line and the configuration file.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// Variables set by dedicated options, such as `KUBERNETES_VERSION` by `--kubernetes-version`.
    pub options: BTreeMap<String, String>,
    /// `--variable NAME=VALUE`.
    pub variables: BTreeMap<String, String>,
    /// Values in the configuration file.
    pub configured: BTreeMap<String, String>,
}

impl Variables {
    /// Returns the value of a variable, if it is set.
    pub fn value(&self, name: &str, environment: &Environment) -> Option<String> {
        let said = self.options.get(name).or_else(|| self.variables.get(name));
        said.cloned()
            .or_else(|| environment.variable(name).map(str::to_owned))
            .or_else(|| self.configured.get(name).cloned())
    }

    /// Values of these variables, as far as they are set.
    pub fn values<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        environment: &Environment,
    ) -> BTreeMap<String, String> {
        names.filter_map(|name| Some((name.to_owned(), self.value(name, environment)?))).collect()
    }
}

/// Variables in a clusterctl configuration file. A list or map value becomes text on one line.
///
/// # Errors
///
/// Returns an error if it cannot be read or is not a YAML map.
pub fn configured(path: &Utf8Path) -> Result<BTreeMap<String, String>, CommandError> {
    let act = || format!("cannot read variables from {path}");
    let text = text_file::read(path, text_file::MANIFESTS).doing(act())?;
    let value: Value = serde_saphyr::from_str(&text).doing(act())?;
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(fields) => Ok(fields.into_iter().map(|(name, v)| (name, shown(v))).collect()),
        _ => Err(CommandError::new("expected a map of names and values").while_doing(act())),
    }
}

fn shown(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}
