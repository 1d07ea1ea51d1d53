//! Where the values of variables come from. Options go first, then the environment, then the
//! configuration file of clusterctl.

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde_json::Value;

use crate::environment::Environment;
use crate::error::{CommandError, Doing as _};

/// What was said of variables on the command line.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Options with a meaning of their own, as `KUBERNETES_VERSION` and `--kubernetes-version`.
    pub options: BTreeMap<String, String>,
    /// `--variable NAME=VALUE`.
    pub variables: BTreeMap<String, String>,
    /// What the configuration file has.
    pub configured: BTreeMap<String, String>,
}

impl Given {
    /// The value of a variable, if it is set anywhere.
    pub fn value(&self, name: &str, environment: &Environment) -> Option<String> {
        let said = self.options.get(name).or_else(|| self.variables.get(name));
        said.cloned()
            .or_else(|| environment.variable(name).map(str::to_owned))
            .or_else(|| self.configured.get(name).cloned())
    }

    /// The values of these variables, as far as they are set.
    pub fn values<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        environment: &Environment,
    ) -> BTreeMap<String, String> {
        names.filter_map(|name| Some((name.to_owned(), self.value(name, environment)?))).collect()
    }
}

/// The variables in a configuration file of clusterctl: its keys, a list or map in one line.
///
/// # Errors
///
/// When it cannot be read, or is no YAML map.
pub fn configured(path: &Utf8Path) -> Result<BTreeMap<String, String>, CommandError> {
    let act = || format!("cannot read variables from {path}");
    let text = std::fs::read_to_string(path).doing(act())?;
    let value: Value = serde_saphyr::from_str(&text).doing(act())?;
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(fields) => Ok(fields.into_iter().map(|(name, v)| (name, shown(v))).collect()),
        _ => Err(CommandError::new("it is not a map of names and values").while_doing(act())),
    }
}

fn shown(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}
