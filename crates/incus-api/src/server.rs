//! `GET /1.0`: the server, what it is and what it can do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Answer to `GET /1.0`.
///
/// To a client it does not trust, the server says only the API version and how to authenticate:
/// [`Server::auth`] is then `untrusted` and the environment empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Server configuration. Values are strings, but old servers send numbers and booleans too.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: BTreeMap<String, Value>,
    /// Names of the API extensions the server has.
    #[serde(deserialize_with = "crate::null::default")]
    pub api_extensions: BTreeSet<String>,
    /// `stable`, `development` or `deprecated`.
    pub api_status: String,
    /// `1.0`.
    pub api_version: String,
    /// `trusted` or `untrusted`: who the server thinks this client is.
    pub auth: String,
    /// True for a server that only publishes images.
    pub public: bool,
    /// How a client may authenticate (`tls`, `oidc`, …).
    #[serde(deserialize_with = "crate::null::default")]
    pub auth_methods: Vec<String>,
    /// Name the client is known by, if the server says so.
    pub auth_user_name: String,
    /// How the client authenticated (`unix`, `tls`, …).
    pub auth_user_method: String,
    /// What the server runs on.
    pub environment: ServerEnvironment,
}

/// The host and the daemon. Empty for a client that is not trusted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerEnvironment {
    /// `HOST:PORT` the API listens on.
    #[serde(deserialize_with = "crate::null::default")]
    pub addresses: Vec<String>,
    /// Architectures the server can run, its own first.
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
    /// Kernel features the daemon found, `"true"` or `"false"` each.
    #[serde(deserialize_with = "crate::null::default")]
    pub kernel_features: BTreeMap<String, String>,
    /// Kernel release.
    pub kernel_version: String,
    /// Features of liblxc, `"true"` or `"false"` each.
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
    /// True when the server is a member of a cluster.
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

/// Which of the two servers answered.
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
    /// Which server this is. Only LXD calls itself `lxd`; anything else is taken for Incus.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        if self.environment.server.eq_ignore_ascii_case("lxd") {
            Flavor::Lxd
        } else {
            Flavor::Incus
        }
    }

    /// True when the server has the API extension `name`.
    #[must_use]
    pub fn supports(&self, name: &str) -> bool {
        self.api_extensions.contains(name)
    }

    /// True when the server trusts this client.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.auth == "trusted"
    }

    /// Major and minor version of the daemon, where it is written as `6.0.4` or `5.21`.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.environment.server_version.split(['.', ' ', '-']);
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        Some((major, minor))
    }
}
