//! An async client of the Incus and LXD REST API.
//!
//! | you want to | see |
//! |---|---|
//! | connect | [`Client::unix`], [`Client::https`], [`Client::custom`] |
//! | work in a project | [`Client::with_project`] |
//! | inspect the server | [`Client::server`], [`Client::supports`] |
//! | create, start, stop, delete instances | [`Client::create_instance`], [`Client::set_state`], [`Client::delete_instance`] |
//! | wait for operations | [`Operation::wait`], [`Client::operations_for`] |
//! | run commands | [`Client::exec`], [`Client::exec_stream`], [`Client::tunnel`] |
//! | transfer files | [`Client::push_file`], [`Client::pull_file`] |
//! | follow events | [`Client::events`] |
//! | use several addresses of a server cluster | [`ClientBuilder::or`] |
//! | collect metrics | [`ClientBuilder::observe`] |
//! | import and export images | [`Client::import_image`], [`Client::export_image`] |
//!
//! # Guarantees
//!
//! * **Every wait ends.** Plain requests have a timeout, everything else takes a deadline.
//! * **Lost connections are handled.** A wait for an operation continues over a new connection and
//!   fetches the operation again. When the server has forgotten the operation meanwhile, the wait
//!   fails with [`Error::OperationLost`], because only the resource can tell the result.
//! * **Dropping a future is safe.** A request may or may not have reached the server; an operation
//!   continues there; a command started by [`Client::exec`] is killed.
//! * **Errors name the request**: method, path, status and the message of the server.
//! * The crate prints nothing, reads no environment variables and uses no proxy.
//!
//! # Request errors
//!
//! Every method that sends a request can return:
//!
//! * [`Error::Connect`], [`Error::Send`], [`Error::ReadAnswer`] or [`Error::Timeout`] when the
//!   server does not respond ([`Error::is_connection`]);
//! * [`Error::Api`] when the server returns an error, for example because this client may not
//!   access the project ([`Error::is_forbidden`]);
//! * [`Error::Envelope`] or [`Error::Decode`] when the response is not what the API defines.
//!
//! The documentation of a method names only what is specific to it.
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
mod transport;
mod untrusted;
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
