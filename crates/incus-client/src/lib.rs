//! An async client of the Incus and LXD REST API.
//!
//! | you want to | see |
//! |---|---|
//! | connect | [`Client::unix`], [`Client::https`], [`Client::custom`] |
//! | work in a project | [`Client::with_project`] |
//! | know the server | [`Client::server`], [`Client::supports`] |
//! | make, start, stop, delete instances | [`Client::create_instance`], [`Client::set_state`], [`Client::delete_instance`] |
//! | wait for background work | [`Operation::wait`], [`Client::operations_for`] |
//! | run commands | [`Client::exec`], [`Client::exec_stream`], [`Client::tunnel`] |
//! | move files | [`Client::push_file`], [`Client::pull_file`] |
//! | follow what happens | [`Client::events`] |
//! | reach a cluster of servers by several addresses | [`ClientBuilder::or`] |
//! | count and time what it does | [`ClientBuilder::observe`] |
//! | bring images, and fetch them | [`Client::import_image`], [`Client::export_image`] |
//!
//! # Promises
//!
//! * **Every wait ends.** Plain requests have a timeout, everything else takes a deadline.
//! * **A lost connection loses nothing.** A wait for an operation goes on over a new connection
//!   and asks again; when the server has forgotten the operation meanwhile, that is an error of
//!   its own ([`Error::OperationLost`]), because only the resource can say how it ended.
//! * **Dropping a future is safe.** A request may or may not have reached the server; an
//!   operation goes on there; a command started by [`Client::exec`] is killed.
//! * **Errors name the call**: method, path, status and the server's own text.
//! * Nothing is printed, no environment variable is read, no proxy is used.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use incus_client::{Client, api::{InstanceAction, InstanceSource, InstancesPost}};
//!
//! # async fn example() -> Result<(), incus_client::Error> {
//! let client = Client::unix("/var/lib/incus/unix.socket");
//! let post = InstancesPost {
//!     name: "web".into(),
//!     source: InstanceSource::alias("debian/12"),
//!     ..InstancesPost::default()
//! };
//! client.create_instance(&post, None).await?.wait(Duration::from_secs(120)).await?;
//! client
//!     .set_state("web", InstanceAction::Start, false, None)
//!     .await?
//!     .wait(Duration::from_secs(30))
//!     .await?;
//! # Ok(())
//! # }
//! ```

mod bounds;
mod call;
mod client;
mod error;
mod events;
mod exec;
mod files;
mod hub;
mod images;
mod instances;
mod load_balancers;
mod metadata;
mod networks;
mod observer;
mod operations;
mod profiles;
mod projects;
mod route;
mod server;
mod storage;
mod stranger;
mod transport;
mod versioned;
mod websocket;

pub use client::{Client, ClientBuilder};
pub use error::{Call, Error, Result};
pub use events::{EventItem, EventStream};
pub use exec::{
    ExecControlHandle, ExecEnd, ExecEnded, ExecInput, ExecOutput, ExecReader, ExecRequest,
    ExecSignals, ExecStream, ExecTerminal, TerminalSize, TerminalStream, Tunnel,
};
pub use files::{FileOptions, PulledFile};
pub use images::{ImageFiles, ImageUpload, ImportedImage, UploadProgress};
pub use incus_api as api;
pub use observer::{Observation, OperationOutcome, RequestOutcome};
pub use operations::Operation;
pub use transport::{HttpsRemote, TlsError, certificate_fingerprint, server_certificate};
pub use versioned::Versioned;
