//! `/1.0/profiles`: configuration that instances share.

use serde::{Deserialize, Serialize};

use crate::{Config, Devices};

/// A profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// Free text.
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
    /// Project it is in.
    pub project: String,
}

/// `PUT /1.0/profiles/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfilePut {
    /// Free text.
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
    /// Everything else.
    #[serde(flatten)]
    pub put: ProfilePut,
}
