//! `/1.0/projects`: separate namespaces on one server.

use serde::{Deserialize, Serialize};

use crate::Config;

/// A project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Name.
    pub name: String,
    /// Description.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// Configuration: `features.*`, `limits.*`, `restricted.*`.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Paths of the resources in it.
    #[serde(deserialize_with = "crate::null::default")]
    pub used_by: Vec<String>,
}

/// `PUT /1.0/projects/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectPut {
    /// Description.
    pub description: String,
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
}

/// `POST /1.0/projects`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectsPost {
    /// Name.
    pub name: String,
    /// The other fields.
    #[serde(flatten)]
    pub put: ProjectPut,
}
