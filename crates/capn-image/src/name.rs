//! Image names as manifests and the command line write them.
//!
//! A name is an alias on the instance's own server (`capn/node`), an alias on another server
//! when one is given, or `PREFIX:REST`, where the prefix picks an image family and the family
//! resolves differently on Incus and LXD. The word `VERSION` anywhere in a name stands for the
//! machine's Kubernetes version. Prefixes are those of upstream CAPN, so its manifests mean
//! here what they mean there; [`ImageServers`] can say otherwise.

use thiserror::Error;

use crate::catalog;

mod servers;

pub use servers::{ImageServers, ImageServersError};

/// Which of the two servers answers; families resolve differently on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFlavor {
    /// Incus.
    Incus,
    /// Canonical LXD.
    Lxd,
    /// A server that names itself neither; families with a server of their own are refused.
    Unknown,
}

impl ServerFlavor {
    /// From the `environment.server` field of the server's info.
    pub fn from_server_name(name: &str) -> Self {
        match name {
            "incus" => Self::Incus,
            "lxd" => Self::Lxd,
            _ => Self::Unknown,
        }
    }
}

/// How the instance's server fetches from an image server.
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
    /// The word of the server's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simplestreams => "simplestreams",
            Self::Incus => "incus",
            Self::Lxd => "lxd",
            Self::Oci => "oci",
        }
    }
}

/// The `image` fields of an LXCMachine or of a load balancer's instance, empty meaning absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageFields<'a> {
    /// Alias or prefixed name.
    pub name: &'a str,
    /// Fingerprint, or a unique beginning of one; wins over the name.
    pub fingerprint: &'a str,
    /// URL of another image server.
    pub server: &'a str,
    /// Protocol of `server`; `simplestreams` when absent.
    pub protocol: &'a str,
}

/// What the instance's server is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// An alias in the instance's own project.
    Alias(String),
    /// A fingerprint on the instance's own server.
    Fingerprint(String),
    /// An image the server fetches from elsewhere, and keeps.
    Remote {
        /// URL of the image server.
        server: String,
        /// How to talk to it.
        protocol: Protocol,
        /// Alias there, or the fingerprint when `by_fingerprint`.
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

/// A name that cannot be resolved, whatever the server holds: asking again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The prefix is none of ours.
    #[error("image {name:?} has the unknown prefix {prefix:?} (known: {})", known.join(", "))]
    UnknownPrefix {
        /// The whole name.
        name: String,
        /// What stands before the colon.
        prefix: String,
        /// What may stand there.
        known: Vec<String>,
    },
    /// Nothing follows the prefix.
    #[error("image {name:?} names nothing after its prefix")]
    EmptyAfterPrefix {
        /// The whole name.
        name: String,
    },
    /// The name needs a version that the machine does not have.
    #[error("image {name:?} contains VERSION, but the machine has no Kubernetes version")]
    NoVersion {
        /// The whole name.
        name: String,
    },
    /// The family has no server for this kind of server.
    #[error("image {name:?} can only be resolved on Incus or LXD, and the server is neither")]
    UnknownServer {
        /// The whole name.
        name: String,
    },
    /// LXD runs no OCI images.
    #[error("image {name:?} is an OCI image, which LXD cannot run")]
    OciOnLxd {
        /// The whole name.
        name: String,
    },
    /// The protocol is not one the servers know.
    #[error("image protocol {protocol:?} is unknown (known: simplestreams, incus, lxd, oci)")]
    UnknownProtocol {
        /// As given.
        protocol: String,
    },
    /// A protocol without a server says nothing.
    #[error("image protocol {protocol:?} is given without a server")]
    ProtocolWithoutServer {
        /// As given.
        protocol: String,
    },
    /// A server without name and fingerprint says nothing.
    #[error("image server {server:?} is given without a name or fingerprint")]
    ServerWithoutImage {
        /// As given.
        server: String,
    },
}

/// Resolves the image fields of a manifest.
///
/// `version` is the machine's Kubernetes version (`v1.36.0`); `servers` says what prefixes of
/// image servers stand for. `Ok(None)` means that nothing was
/// named, and the caller takes the default of the role ([`catalog::default_machine_image`],
/// [`catalog::default_load_balancer_image`]).
///
/// # Errors
///
/// Every error is final: the manifest has to change.
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
    // Whoever gives a prefix a server means it, also where it is a family's.
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

/// `name:tag@sha256:x` becomes `name@sha256:x`: servers take one of the two, and the digest
/// says more.
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
