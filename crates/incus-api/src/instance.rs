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
    /// Free text.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// The code in words.
    pub status: String,
    /// Running, stopped, frozen, error.
    pub status_code: StatusCode,
    /// When it was created.
    pub created_at: String,
    /// When it was last started.
    pub last_used_at: String,
    /// Cluster member it is on; `none` without a cluster.
    pub location: String,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub instance_type: InstanceType,
    /// Project it belongs to.
    pub project: String,
    /// Architecture.
    pub architecture: String,
    /// True when it is deleted as soon as it stops.
    pub ephemeral: bool,
    /// True when it has a saved state.
    pub stateful: bool,
    /// Profiles, the last one wins.
    #[serde(deserialize_with = "crate::null::default")]
    pub profiles: Vec<String>,
    /// Its own configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Its own devices.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
    /// Configuration with the profiles' merged in.
    #[serde(deserialize_with = "crate::null::default")]
    pub expanded_config: Config,
    /// Devices with the profiles' merged in.
    #[serde(deserialize_with = "crate::null::default")]
    pub expanded_devices: Devices,
}

impl Instance {
    /// The parts a client may change, for a `PUT` that changes some of them.
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

    /// True when the instance runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.status_code, StatusCode::Running | StatusCode::Ready)
    }

    /// True when the instance is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.status_code == StatusCode::Stopped
    }
}

/// An instance with its state, as `recursion=2` gives it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceFull {
    /// The instance.
    #[serde(flatten)]
    pub instance: Instance,
    /// Its state; absent where the server could not ask (member offline).
    pub state: Option<InstanceState>,
    /// Its snapshots, as they come.
    #[serde(deserialize_with = "crate::null::default")]
    pub snapshots: Vec<Value>,
    /// Its backups, as they come.
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

/// `PUT /1.0/instances/NAME`: everything a client may change. What is left out is taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancePut {
    /// Architecture; empty keeps the server's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// Configuration, `volatile.*` keys included.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Devices.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
    /// Delete when it stops.
    pub ephemeral: bool,
    /// Profiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Free text.
    pub description: String,
    /// Keep the saved state.
    pub stateful: bool,
}

/// `POST /1.0/instances`: a new instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancesPost {
    /// Name; empty lets the server choose.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub instance_type: InstanceType,
    /// Where its root filesystem comes from.
    pub source: InstanceSource,
    /// Size by a cloud's name (`t2.micro`, `c2-m4`); a flavor in Cluster API terms.
    #[serde(rename = "instance_type", skip_serializing_if = "String::is_empty")]
    pub flavor: String,
    /// Architecture; empty takes the image's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Devices.
    #[serde(deserialize_with = "crate::null::default")]
    pub devices: Devices,
    /// Delete when it stops.
    pub ephemeral: bool,
    /// Profiles: `None` is the project's default profile, an empty list is no profile at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Start it at once. Needs the extension `instance_create_start`; others ignore it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
}

/// Where an instance's root filesystem comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceSource {
    /// `image`, `none`, `copy` or `migration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Alias of an image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Fingerprint of an image; a prefix will do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Image server the image comes from; empty is this server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// `incus`, `lxd`, `simplestreams` or `oci`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// `pull` for images from a server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Certificate (PEM) of that server, if it is not a public authority's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Secret to read an image that is not public.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// Find the image by these properties.
    #[serde(skip_serializing_if = "Config::is_empty", deserialize_with = "crate::null::default")]
    pub properties: Config,
    /// For `copy`: name of the instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// For `copy`: project of that instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
}

impl InstanceSource {
    /// An image of this server, by alias.
    #[must_use]
    pub fn alias(alias: impl Into<String>) -> Self {
        Self { kind: "image".into(), alias: alias.into(), ..Self::default() }
    }

    /// An image of this server, by fingerprint.
    #[must_use]
    pub fn fingerprint(fingerprint: impl Into<String>) -> Self {
        Self { kind: "image".into(), fingerprint: fingerprint.into(), ..Self::default() }
    }

    /// An image of a public image server, by alias. The server downloads it when it has not yet.
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

    /// An empty instance.
    #[must_use]
    pub fn none() -> Self {
        Self { kind: "none".into(), ..Self::default() }
    }
}

/// `POST /1.0/instances/NAME`: rename.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancePost {
    /// The new name.
    pub name: String,
}
