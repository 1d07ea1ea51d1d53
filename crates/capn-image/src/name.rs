//! Image names in manifests and on the command line.
//!
//! A name is an alias on the instance's own server (`capn/node`), an alias on another server if one
//! is given, or `PREFIX:REST`, where the prefix selects an image family that resolves differently
//! on Incus and LXD. The word `VERSION` anywhere in a name stands for the machine's Kubernetes
//! version. The prefixes are those of upstream CAPN, so that its manifests have the same meaning;
//! [`ImageServers`] can change them.

use thiserror::Error;

use crate::catalog;

mod servers;

pub use servers::{ImageServers, ImageServersError};

/// Kind of server; families resolve differently on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFlavor {
    /// Incus.
    Incus,
    /// Canonical LXD.
    Lxd,
    /// An unknown kind of server. Families with a server of their own are rejected.
    Unknown,
}

impl ServerFlavor {
    /// Reads the `environment.server` field of the server.
    pub fn from_server_name(name: &str) -> Self {
        match name {
            "incus" => Self::Incus,
            "lxd" => Self::Lxd,
            _ => Self::Unknown,
        }
    }
}

/// Protocol between the instance's server and an image server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A simplestreams index over HTTPS.
    Simplestreams,
    /// Another Incus server.
    Incus,
    /// Another LXD server.
    Lxd,
    /// An OCI registry.
    Oci,
}

impl Protocol {
    /// Returns the name in the server's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simplestreams => "simplestreams",
            Self::Incus => "incus",
            Self::Lxd => "lxd",
            Self::Oci => "oci",
        }
    }
}

/// The `image` fields of an LXCMachine or of a load balancer; empty means absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageFields<'a> {
    /// Alias or prefixed name.
    pub name: &'a str,
    /// Fingerprint, or a unique prefix of one; takes precedence over the name.
    pub fingerprint: &'a str,
    /// URL of another image server.
    pub server: &'a str,
    /// Protocol of `server`; `simplestreams` when absent.
    pub protocol: &'a str,
}

/// The image to request from the instance's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// An alias in the instance's own project.
    Alias(String),
    /// A fingerprint on the instance's own server.
    Fingerprint(String),
    /// An image that the server downloads and caches.
    Remote {
        /// URL of the image server.
        server: String,
        /// Protocol of the image server.
        protocol: Protocol,
        /// Alias on the image server, or a fingerprint if `by_fingerprint`.
        image: String,
        /// Whether `image` is a fingerprint.
        by_fingerprint: bool,
    },
}

impl std::fmt::Display for ImageSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alias(alias) => write!(f, "{alias}"),
            Self::Fingerprint(fingerprint) => write!(f, "{fingerprint}"),
            Self::Remote { server, image, .. } => write!(f, "{image} on {server}"),
        }
    }
}

/// A name that can never be resolved: a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The prefix is unknown.
    #[error("image {name:?} has the unknown prefix {prefix:?} (known: {})", known.join(", "))]
    UnknownPrefix {
        /// The whole name.
        name: String,
        /// Text before the colon.
        prefix: String,
        /// Known prefixes.
        known: Vec<String>,
    },
    /// Nothing follows the prefix.
    #[error("image {name:?} has no name after its prefix")]
    EmptyAfterPrefix {
        /// The whole name.
        name: String,
    },
    /// The name contains `VERSION`, but the machine has no version.
    #[error("image {name:?} contains VERSION, but the machine has no Kubernetes version")]
    NoVersion {
        /// The whole name.
        name: String,
    },
    /// The family has no image server for this kind of server.
    #[error("image {name:?} can only be resolved on Incus or LXD, but the server is neither")]
    UnknownServer {
        /// The whole name.
        name: String,
    },
    /// LXD cannot run OCI images.
    #[error("image {name:?} is an OCI image, which LXD cannot run")]
    OciOnLxd {
        /// The whole name.
        name: String,
    },
    /// The protocol is unknown.
    #[error("image protocol {protocol:?} is unknown (known: simplestreams, incus, lxd, oci)")]
    UnknownProtocol {
        /// As given.
        protocol: String,
    },
    /// A protocol is set without a server.
    #[error("image protocol {protocol:?} is set without a server")]
    ProtocolWithoutServer {
        /// As given.
        protocol: String,
    },
    /// A server is set without a name or fingerprint.
    #[error("image server {server:?} is set without a name or fingerprint")]
    ServerWithoutImage {
        /// As given.
        server: String,
    },
}

/// Resolves the image fields of a manifest.
///
/// `version` is the machine's Kubernetes version (`v1.36.0`); `servers` defines the prefixes of
/// image servers. `Ok(None)` means that no image was given and the default of the role applies
/// ([`catalog::default_machine_image`], [`catalog::default_load_balancer_image`]).
///
/// # Errors
///
/// Every [`NameError`] is permanent: the manifest has to change.
pub fn resolve(
    fields: &ImageFields<'_>,
    version: Option<&str>,
    flavor: ServerFlavor,
    servers: &ImageServers,
) -> Result<Option<ImageSource>, NameError> {
    let ImageFields { name, fingerprint, server, protocol } = *fields;
    if server.is_empty() && !protocol.is_empty() {
        return Err(NameError::ProtocolWithoutServer { protocol: protocol.to_owned() });
    }
    if name.is_empty() && fingerprint.is_empty() {
        return match server {
            "" => Ok(None),
            _ => Err(NameError::ServerWithoutImage { server: server.to_owned() }),
        };
    }
    let expanded = expand_version(name, version)?;
    if !server.is_empty() {
        let (image, by_fingerprint) = match fingerprint {
            "" => (expanded, false),
            _ => (fingerprint.to_owned(), true),
        };
        let protocol = parse_protocol(protocol)?;
        return Ok(Some(ImageSource::Remote {
            server: server.to_owned(),
            protocol,
            image: if protocol == Protocol::Oci { pin_digest(&image) } else { image },
            by_fingerprint,
        }));
    }
    if !fingerprint.is_empty() {
        return Ok(Some(ImageSource::Fingerprint(fingerprint.to_owned())));
    }
    match expanded.split_once(':') {
        None => Ok(Some(ImageSource::Alias(expanded))),
        Some((prefix, rest)) => family(prefix, rest, &expanded, flavor, servers).map(Some),
    }
}

fn expand_version(name: &str, version: Option<&str>) -> Result<String, NameError> {
    if !name.contains("VERSION") {
        return Ok(name.to_owned());
    }
    match version {
        Some(version) if !version.is_empty() => Ok(name.replace("VERSION", version)),
        _ => Err(NameError::NoVersion { name: name.to_owned() }),
    }
}

fn parse_protocol(protocol: &str) -> Result<Protocol, NameError> {
    match protocol {
        "" | "simplestreams" => Ok(Protocol::Simplestreams),
        "incus" => Ok(Protocol::Incus),
        "lxd" => Ok(Protocol::Lxd),
        "oci" => Ok(Protocol::Oci),
        _ => Err(NameError::UnknownProtocol { protocol: protocol.to_owned() }),
    }
}

fn family(
    prefix: &str,
    rest: &str,
    name: &str,
    flavor: ServerFlavor,
    servers: &ImageServers,
) -> Result<ImageSource, NameError> {
    if rest.is_empty() {
        return Err(NameError::EmptyAfterPrefix { name: name.to_owned() });
    }
    let simplestreams = |server: &str, image: String| ImageSource::Remote {
        server: server.to_owned(),
        protocol: Protocol::Simplestreams,
        image,
        by_fingerprint: false,
    };
    let unknown_server = || NameError::UnknownServer { name: name.to_owned() };
    // A prefix with a configured server takes precedence, even over a family.
    if let Some(url) = servers.url(prefix) {
        return Ok(simplestreams(url, rest.to_owned()));
    }
    match (prefix, flavor) {
        ("kind", ServerFlavor::Lxd) => Err(NameError::OciOnLxd { name: name.to_owned() }),
        ("kind", _) => Ok(ImageSource::Remote {
            server: catalog::OCI_REGISTRY.to_owned(),
            protocol: Protocol::Oci,
            image: pin_digest(&format!("kindest/node:{rest}")),
            by_fingerprint: false,
        }),
        ("ubuntu", ServerFlavor::Incus) => {
            Ok(simplestreams(catalog::LINUX_CONTAINERS, format!("ubuntu/{rest}/cloud")))
        }
        ("ubuntu", ServerFlavor::Lxd) => {
            Ok(simplestreams(catalog::UBUNTU_RELEASES, rest.to_owned()))
        }
        ("debian", ServerFlavor::Incus) => {
            Ok(simplestreams(catalog::LINUX_CONTAINERS, format!("debian/{rest}/cloud")))
        }
        ("debian", ServerFlavor::Lxd) => {
            Ok(simplestreams(catalog::LXD_IMAGES, format!("debian/{rest}/cloud")))
        }
        ("images", ServerFlavor::Incus) => {
            Ok(simplestreams(catalog::LINUX_CONTAINERS, rest.to_owned()))
        }
        ("images", ServerFlavor::Lxd) => Ok(simplestreams(catalog::LXD_IMAGES, rest.to_owned())),
        ("ubuntu" | "debian" | "images", ServerFlavor::Unknown) => Err(unknown_server()),
        _ => {
            let families = ["ubuntu", "debian", "images", "kind"];
            Err(NameError::UnknownPrefix {
                name: name.to_owned(),
                prefix: prefix.to_owned(),
                known: families.into_iter().chain(servers.prefixes()).map(str::to_owned).collect(),
            })
        }
    }
}

/// Converts `name:tag@sha256:x` to `name@sha256:x`: servers accept only one of the two, and the
/// digest is more specific.
fn pin_digest(reference: &str) -> String {
    match reference.split_once('@') {
        Some((tagged, digest)) => {
            let name = tagged.rsplit_once(':').map_or(tagged, |(name, _)| name);
            format!("{name}@{digest}")
        }
        None => reference.to_owned(),
    }
}

#[cfg(test)]
mod tests;
