//! A Kubernetes-compatible API server over SQLite.
//!
//! [`Plane`] keeps objects in one SQLite file and answers the Kubernetes API for them: namespaces,
//! secrets, config maps, events, leases, service accounts and everything that is defined by a
//! `CustomResourceDefinition`. There are two doors:
//!
//! * in process, as a [`tower::Service`] ([`Plane::service`]) or a [`kube::Client`]
//!   ([`Plane::client`]), without a socket, TLS or authentication;
//! * over HTTPS ([`Plane::serve_https`]) with the certificates of a [`Pki`], for `kubectl` and any
//!   other client.
//!
//! # Guarantees
//!
//! * A write is acknowledged after it is durable (WAL, `synchronous=FULL`). Watchers are told
//!   after the commit, never before.
//! * There is one monotonic revision for all kinds. A write that changes nothing gets no revision
//!   and no event.
//! * One process opens a plane at a time; the second gets an error that names the first's pid.
//!
//! # What it is not
//!
//! It schedules nothing: pods, nodes, services and endpoints are empty, read-only lists. There is
//! no RBAC: whoever has a client certificate of the plane's CA may do everything. Request bodies
//! are JSON or YAML, for the built-in kinds also protobuf; answers are JSON. Limits are told in the
//! README of this crate.

mod admission;
mod api;
mod background;
mod discovery;
mod error;
mod events;
mod handlers;
mod json;
mod jsonpath;
mod managed;
mod meta;
mod names;
mod openapi;
mod patch;
mod pki;
mod plane;
mod protobuf;
mod registry;
mod schema;
mod selectors;
mod serve;
mod service;
mod status;
mod store;
mod table;

pub use admission::{Admission, FieldError, FieldErrorKind};
pub use error::Error;
pub use pki::{Pki, PkiError, ServerTls};
pub use plane::{Plane, PlaneOptions};
pub use service::{PlaneService, ResponseBody};
