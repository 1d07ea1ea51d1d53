//! `GET /1.0`: the server, its environment and its features.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Response to `GET /1.0`.
///
/// An untrusted client receives only the API version and the authentication methods:
/// [`Server::auth`] is then `untrusted` and the environment is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Server configuration. Values are strings, but old servers send numbers and booleans too.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: BTreeMap<String, Value>,
    /// API extensions of the server.
    #[serde(deserialize_with = "crate::null::default")]
    pub api_extensions: BTreeSet<String>,
    /// `stable`, `development` or `deprecated`.
    pub api_status: String,
    /// `1.0`.
    pub api_version: String,
    /// `trusted` or `untrusted`: whether the server trusts this client.
    pub auth: String,
    /// Whether the server only publishes images.
    pub public: bool,
    /// Supported authentication methods (`tls`, `oidc`, …).
    #[serde(deserialize_with = "crate::null::default")]
    pub auth_methods: Vec<String>,
    /// User name of the client, if the server sends it.
    pub auth_user_name: String,
    /// Authentication method of the client (`unix`, `tls`, …).
    pub auth_user_method: String,
    /// Environment of the server.
    pub environment: ServerEnvironment,
}

/// The host and the daemon. Empty for an untrusted client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerEnvironment {
    /// Addresses of the API, as `HOST:PORT`.
    #[serde(deserialize_with = "crate::null::default")]
    pub addresses: Vec<String>,
    /// Architectures of instances, that of the host first.
    #[serde(deserialize_with = "crate::null::default")]
    pub architectures: Vec<String>,
    /// The server's certificate, PEM.
    pub certificate: String,
    /// SHA-256 of that certificate, hexadecimal.
    pub certificate_fingerprint: String,
    /// Instance drivers, joined by ` | `.
    pub driver: String,
    /// Versions of the drivers, in the same order.
    pub driver_version: String,
    /// `nftables` or `xtables`.
    pub firewall: String,
    /// `Linux`.
    pub kernel: String,
    /// Architecture of the kernel.
    pub kernel_architecture: String,
    /// Kernel features detected by the daemon, each `"true"` or `"false"`.
    #[serde(deserialize_with = "crate::null::default")]
    pub kernel_features: BTreeMap<String, String>,
    /// Kernel release.
    pub kernel_version: String,
    /// Features of liblxc, each `"true"` or `"false"`.
    #[serde(deserialize_with = "crate::null::default")]
    pub lxc_features: BTreeMap<String, String>,
    /// Distribution of the host.
    pub os_name: String,
    /// Its version.
    pub os_version: String,
    /// Project of this request.
    pub project: String,
    /// `incus` or `lxd`.
    pub server: String,
    /// Whether the server is a member of a cluster.
    pub server_clustered: bool,
    /// Host name, or name of the member.
    pub server_name: String,
    /// Process id of the daemon.
    pub server_pid: i64,
    /// Version of the daemon.
    pub server_version: String,
    /// Storage drivers in use, joined by ` | `.
    pub storage: String,
    /// Their versions, in the same order.
    pub storage_version: String,
}

/// Kind of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// Incus.
    Incus,
    /// LXD, up to the versions that still share the API.
    Lxd,
}

impl std::fmt::Display for Flavor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Incus => "Incus",
            Self::Lxd => "LXD",
        })
    }
}

impl Server {
    /// Kind of the server. Only LXD identifies as `lxd`; anything else counts as Incus.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        if self.environment.server.eq_ignore_ascii_case("lxd") {
            Flavor::Lxd
        } else {
            Flavor::Incus
        }
    }

    /// Returns whether the server has the API extension `name`.
    #[must_use]
    pub fn supports(&self, name: &str) -> bool {
        self.api_extensions.contains(name)
    }

    /// Returns whether the server trusts this client.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.auth == "trusted"
    }

    /// Returns the major and minor version of the daemon, parsed from `6.0.4` or `5.21`.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.environment.server_version.split(['.', ' ', '-']);
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        Some((major, minor))
    }
}
