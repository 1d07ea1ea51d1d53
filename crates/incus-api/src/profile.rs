//! `/1.0/profiles`: shared configuration of instances.

use serde::{Deserialize, Serialize};

use crate::{Config, Devices};

/// A profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// Description.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Devices.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
    /// Resource paths that use it.
    #[serde(deserialize_with = "crate::null::default")]
    pub used_by: Vec<String>,
    /// Project.
    pub project: String,
}

/// `PUT /1.0/profiles/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfilePut {
    /// Description.
    pub description: String,
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Devices.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
}

/// `POST /1.0/profiles`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfilesPost {
    /// Name.
    pub name: String,
    /// The other fields.
    #[serde(flatten)]
    pub put: ProfilePut,
}
