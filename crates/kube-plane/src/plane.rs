//! The plane: a store, the API over it, and the background work that keeps it tidy.

use std::{future::Future, path::PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio::net::TcpListener;

use crate::{Admission, Error, PlaneService, ServerTls};

/// How to open a plane.
#[derive(Debug, Default)]
pub struct PlaneOptions {
    /// The SQLite file, made with its folder if absent. `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// Definitions that are created, or brought up to date, at open.
    pub crds: Vec<CustomResourceDefinition>,
    /// Functions that run on create and update of objects.
    pub admission: Vec<Admission>,
}

/// An open plane. Cloning is cheap; all clones are the same plane.
///
/// The background work (garbage collection, namespace and definition deletion) ends when the last
/// clone is dropped or with [`Plane::close`].
#[derive(Clone, Debug)]
pub struct Plane {}

impl Plane {
    /// Opens a plane and registers the definitions. Has to run inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it open; the other variants if the file cannot
    /// be used or a definition is refused.
    pub async fn open(_options: PlaneOptions) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// The plane as a [`tower::Service`] with all rights. Nothing is authenticated here.
    #[must_use]
    pub fn service(&self) -> PlaneService {
        PlaneService {}
    }

    /// A client for this plane without any socket, default namespace `default`.
    ///
    /// Has to be called inside a Tokio runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// Serves HTTPS (HTTP/1.1 and 2) until `shutdown` is ready, then ends watches and connections.
    ///
    /// # Errors
    /// [`Error::Serve`] if the listener fails; a failing connection is only logged.
    pub async fn serve_https(
        &self,
        _listener: TcpListener,
        _tls: &ServerTls,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        shutdown.await;
        Ok(())
    }

    /// Ends the background work, writes everything back into the database file and gives the lock
    /// free. Clients that are still around get 503 answers.
    pub async fn close(self) {}
}
