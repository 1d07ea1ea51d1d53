//! A Kubernetes-compatible API server over SQLite.
//!
//! [`Plane`] keeps objects in one SQLite file and answers the Kubernetes API for them: namespaces,
//! secrets, config maps, events, leases, service accounts and everything that is defined by a
//! `CustomResourceDefinition`. There are two doors:
//!
//! * in process, as a [`tower::Service`] ([`Plane::service`]) or a [`kube::Client`]
//!   ([`Plane::client`]), without a socket, TLS or authentication: with all rights, or with those
//!   of a user ([`Plane::client_as`]);
//! * over HTTPS ([`Plane::serve_https`]) with the certificates of a [`Pki`], for `kubectl` and any
//!   other client.
//!
//! # Guarantees
//!
//! * A write is acknowledged after it is durable (WAL, `synchronous=FULL`). Watchers are told
//!   after the commit, never before.
//! * There is one monotonic revision for all kinds. A write that changes nothing gets no revision
//!   and no event.
//! * Whoever is in the group `system:masters` may do everything; anybody else what roles and
//!   bindings (`rbac.authorization.k8s.io/v1`) allow.
//! * One process opens a plane at a time; the second gets an error that names the first's pid.
//!
//! # What it is not
//!
//! It schedules nothing: pods, nodes, services and endpoints are empty, read-only lists. Request
//! bodies are JSON or YAML, for the built-in kinds also protobuf; answers are JSON. Limits are told
//! in the README of this crate.

mod admission;
mod api;
mod background;
mod discovery;
mod error;
mod events;
mod gate;
mod handlers;
mod heavy;
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
pub use api::Quota;
pub use error::Error;
pub use handlers::Untaken;
pub use limits::Limits;
pub use pki::{ClientCertificate, Pki, PkiError, ServerTls};
pub use plane::{Plane, PlaneOptions};
pub use service::{PlaneService, ResponseBody};
