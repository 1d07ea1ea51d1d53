//! Wire types of the REST API that [Incus] and LXD share, and request building.
//!
//! Nothing here does I/O: a [`Request`] describes what to send, a [`Reply`] what was received, and
//! the other types are the objects in between. Each resource has a file with the server's name for
//! it.
//!
//! Three properties of the servers shape the types:
//!
//! * Go writes an empty map or list as `null`, so every map and list accepts `null`.
//! * Servers gain fields and status codes over time, so unknown fields are ignored, and unknown
//!   codes and kinds are kept ([`StatusCode::Other`], [`InstanceType::Other`]).
//! * Times are RFC 3339 strings and stay strings; `0001-01-01T00:00:00Z` means "never".
//!
//! The types follow the documentation of the servers (`doc/rest-api.yaml`, `doc/api-extensions.md`)
//! and the responses of Incus 6.0 and LXD 5.0.
//!
//! [Incus]: https://linuxcontainers.org/incus/docs/main/rest-api/
//!
//! ```
//! use incus_api::Request;
//!
//! let request = Request::get(&["instances", "web", "state"]).query("project", "lab");
//! assert_eq!(request.path_and_query(), "/1.0/instances/web/state?project=lab");
//! ```

mod null;

pub mod certificate;
pub mod cluster;
pub mod event;
pub mod exec;
pub mod file;
pub mod filter;
pub mod image;
pub mod instance;
pub mod load_balancer;
pub mod metadata;
pub mod network;
pub mod operation;
pub mod profile;
pub mod project;
pub mod reply;
pub mod request;
pub mod server;
pub mod state;
pub mod status;
pub mod storage;

pub use certificate::{Certificate, CertificatePut, CertificatesPost};
pub use cluster::{Cluster, ClusterMember};
pub use event::{Event, EventKind, EventLifecycle, EventLogging};
pub use exec::{ExecControl, ExecPost};
pub use file::{FileHeaders, FileKind};
pub use filter::InstanceFilter;
pub use image::{
    Image, ImageAlias, ImageAliasesEntry, ImageAliasesPost, ImagePut, ImagesPost, ImagesPostSource,
};
pub use instance::{
    Config, Devices, Instance, InstanceFull, InstancePost, InstancePut, InstanceSource,
    InstanceType, InstancesPost,
};
pub use load_balancer::{
    NetworkLoadBalancer, NetworkLoadBalancerBackend, NetworkLoadBalancerPort,
    NetworkLoadBalancerPut, NetworkLoadBalancersPost,
};
pub use metadata::{ImageMetadata, ImageMetadataTemplate};
pub use network::{
    Network, NetworkAcl, NetworkAclRule, NetworkLease, NetworkPut, NetworkState,
    NetworkStateAddress, NetworksPost,
};
pub use operation::{Operation, OperationClass};
pub use profile::{Profile, ProfilePut, ProfilesPost};
pub use project::{Project, ProjectPut, ProjectsPost};
pub use reply::{Reply, ReplyError};
pub use request::{Method, Request};
pub use server::{Flavor, Server, ServerEnvironment};
pub use state::{
    AddressFamily, AddressScope, InstanceAction, InstanceState, InstanceStateAddress,
    InstanceStateNetwork, InstanceStatePut,
};
pub use status::StatusCode;
pub use storage::{StoragePool, StoragePoolPut, StoragePoolResources, StoragePoolsPost};
