//! `/1.0/instances`: containers and virtual machines.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{InstanceState, StatusCode};

/// Configuration: key to value, both text.
pub type Config = BTreeMap<String, String>;
/// Devices: name to the device's configuration.
pub type Devices = BTreeMap<String, Config>;

/// Container or virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceType {
    /// A system container (or, on Incus 6.3 and later, an application container).
    #[default]
    Container,
    /// A virtual machine.
    VirtualMachine,
    /// A kind newer than this crate, or nothing.
    #[serde(untagged)]
    Other(String),
}

impl std::fmt::Display for InstanceType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
            Self::Other(other) => other,
        })
    }
}

/// An instance as the server describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// Name, unique in its project.
    pub name: String,
    /// Description.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// Status as text.
    pub status: String,
    /// Status: running, stopped, frozen, error.
    pub status_code: StatusCode,
    /// Creation time.
    pub created_at: String,
    /// Time of the last start.
    pub last_used_at: String,
    /// Cluster member; `none` without a cluster.
    pub location: String,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub instance_type: InstanceType,
    /// Project.
    pub project: String,
    /// Architecture.
    pub architecture: String,
    /// Whether it is deleted when it stops.
    pub ephemeral: bool,
    /// Whether it has a saved state.
    pub stateful: bool,
    /// Profiles; later ones override earlier ones.
    #[serde(deserialize_with = "crate::null::default")]
    pub profiles: Vec<String>,
    /// Its own configuration, without profiles.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Its own devices, without profiles.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
    /// Configuration including the profiles.
    #[serde(deserialize_with = "crate::null::default")]
    pub expanded_config: Config,
    /// Devices including the profiles.
    #[serde(deserialize_with = "crate::null::default")]
    pub expanded_devices: Devices,
}

impl Instance {
    /// Returns the fields that a client may change, as the base of a `PUT`.
    #[must_use]
    pub fn to_put(&self) -> InstancePut {
        InstancePut {
            architecture: self.architecture.clone(),
            config: self.config.clone(),
            devices: self.devices.clone(),
            ephemeral: self.ephemeral,
            profiles: Some(self.profiles.clone()),
            description: self.description.clone(),
            stateful: self.stateful,
        }
    }

    /// Returns whether the instance is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.status_code, StatusCode::Running | StatusCode::Ready)
    }

    /// Returns whether the instance is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.status_code == StatusCode::Stopped
    }
}

/// An instance with its state, as returned with `recursion=2`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceFull {
    /// The instance.
    #[serde(flatten)]
    pub instance: Instance,
    /// State; absent if the cluster member is offline.
    pub state: Option<InstanceState>,
    /// Snapshots, unparsed.
    #[serde(deserialize_with = "crate::null::default")]
    pub snapshots: Vec<Value>,
    /// Backups, unparsed.
    #[serde(deserialize_with = "crate::null::default")]
    pub backups: Vec<Value>,
}

impl Deref for InstanceFull {
    type Target = Instance;
    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl DerefMut for InstanceFull {
    fn deref_mut(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

/// `PUT /1.0/instances/NAME`: all fields that a client may change. Omitted fields are removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancePut {
    /// Architecture; empty keeps the current one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// Configuration, `volatile.*` keys included.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Devices.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
    /// Delete it when it stops.
    pub ephemeral: bool,
    /// Profiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Description.
    pub description: String,
    /// Keep the saved state.
    pub stateful: bool,
}

/// `POST /1.0/instances`: create an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancesPost {
    /// Name; empty lets the server choose.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub instance_type: InstanceType,
    /// Source of the root filesystem.
    pub source: InstanceSource,
    /// Instance size by the name of a cloud provider (`t2.micro`, `c2-m4`); the flavor in Cluster
    /// API.
    #[serde(rename = "instance_type", skip_serializing_if = "String::is_empty")]
    pub flavor: String,
    /// Architecture; empty for that of the image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Devices.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
    /// Delete it when it stops.
    pub ephemeral: bool,
    /// Profiles: `None` for the project's default profile, an empty list for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Start it at once. Needs the extension `instance_create_start`; other servers ignore it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
}

/// Source of an instance's root filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceSource {
    /// `image`, `none`, `copy` or `migration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Alias of an image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Fingerprint of an image, or a prefix of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// URL of the image server; empty for this server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// `incus`, `lxd`, `simplestreams` or `oci`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// `pull` for images from a server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Certificate (PEM) of that server, unless a public authority issued it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Secret to read a private image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// Properties of the image.
    #[serde(skip_serializing_if = "Config::is_empty", deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// For `copy`: name of the source instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// For `copy`: project of the source instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
}

impl InstanceSource {
    /// Creates an image on this server, by alias.
    #[must_use]
    pub fn alias(alias: impl Into<String>) -> Self {
        Self { kind: "image".into(), alias: alias.into(), ..Self::default() }
    }

    /// Creates an image on this server, by fingerprint.
    #[must_use]
    pub fn fingerprint(fingerprint: impl Into<String>) -> Self {
        Self { kind: "image".into(), fingerprint: fingerprint.into(), ..Self::default() }
    }

    /// Creates an image on a public image server, by alias. The server downloads it if it does not
    /// have it.
    #[must_use]
    pub fn remote(
        server: impl Into<String>,
        protocol: impl Into<String>,
        alias: impl Into<String>,
    ) -> Self {
        Self {
            kind: "image".into(),
            mode: "pull".into(),
            server: server.into(),
            protocol: protocol.into(),
            alias: alias.into(),
            ..Self::default()
        }
    }

    /// Creates an empty instance.
    #[must_use]
    pub fn none() -> Self {
        Self { kind: "none".into(), ..Self::default() }
    }
}

/// `POST /1.0/instances/NAME`: rename an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancePost {
    /// The new name.
    pub name: String,
}
