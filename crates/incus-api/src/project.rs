//! `/1.0/projects`: separate worlds on one server.

use serde::{Deserialize, Serialize};

use crate::Config;

/// A project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Name.
    pub name: String,
    /// Free text.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// Configuration: `features.*`, `limits.*`, `restricted.*`.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Resource paths that are in it.
    #[serde(deserialize_with = "crate::null::default")]
    pub used_by: Vec<String>,
}

/// `PUT /1.0/projects/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectPut {
    /// Free text.
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
    /// Everything else.
    #[serde(flatten)]
    pub put: ProjectPut,
}
