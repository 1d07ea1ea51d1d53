//! A Kubernetes-compatible API server over SQLite.
//!
//! [`Plane`] stores objects in one SQLite file and serves the Kubernetes API for them: namespaces,
//! secrets, config maps, events, leases, service accounts and everything that a
//! `CustomResourceDefinition` defines. There are two ways to reach it:
//!
//! * in process, as a [`tower::Service`] ([`Plane::service`]) or a [`kube::Client`]
//!   ([`Plane::client`]), without a socket, TLS or authentication, with all permissions or with
//!   those of a user ([`Plane::client_as`]);
//! * over HTTPS ([`Plane::serve_https`]) with the certificates of a [`Pki`], for `kubectl` and any
//!   other client.
//!
//! # Guarantees
//!
//! * A write is acknowledged after it is durable (WAL, `synchronous=FULL`). Watches receive it
//!   after the commit.
//! * There is one monotonic revision for all kinds. A write that changes nothing creates no
//!   revision and no event.
//! * Members of the group `system:masters` have all permissions. All others have those of their
//!   roles and bindings (`rbac.authorization.k8s.io/v1`).
//! * Only one process can open a plane; others get an error with the pid of the first.
//!
//! # Limitations
//!
//! The plane schedules nothing: pods, nodes, services and endpoints are empty, read-only lists.
//! Request bodies are JSON, YAML or, for the built-in kinds, protobuf; responses are JSON. The
//! README of this crate lists the limits.

mod admission;
mod api;
mod background;
mod discovery;
mod error;
mod events;
mod expensive;
mod flow_control;
mod handlers;
mod identity;
mod json;
mod jsonpath;
mod limits;
mod managed;
mod meta;
mod names;
mod openapi;
mod patch;
mod pki;
mod plane;
mod private;
mod protobuf;
mod rbac;
mod registry;
mod schema;
mod selectors;
mod serve;
mod service;
mod status;
mod store;
mod table;
mod tokens;

pub use bounded_http::Limits as ConnectionLimits;

pub use admission::{Admission, FieldError, FieldErrorKind};
pub use api::{NAMESPACE_BYTES, Quota};
pub use error::Error;
pub use handlers::ResponseTimeout;
pub use limits::Limits;
pub use pki::{ClientCertificate, Pki, PkiError, ServerTls};
pub use plane::{Plane, PlaneOptions};
pub use service::{PlaneService, ResponseBody};
