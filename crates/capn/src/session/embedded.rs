//! The plane and its controllers in this process.

use std::time::Duration;

use camino::Utf8PathBuf;
use capn_controller::informers::{Informers, InitialList};
use capn_controller::names;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube_plane::{Limits, Plane, PlaneOptions, Quota};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Controllers;
use super::admission::admissions;
use super::listener::Listener;
use super::quotas::{NamespaceLimits, quotas};
use super::roles;
use crate::error::CommandError;
use crate::files;
use crate::state::StateDir;

/// How long controllers may take to finish their current work. All work is resumable.
const GRACE: Duration = Duration::from_secs(20);

/// Why the plane could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    Locked(Box<kube_plane::Error>),
    /// Any other error.
    Other(CommandError),
}

impl OpenError {
    /// Returns the error for a command that needs the plane for itself.
    pub fn into_command(self, state: &StateDir) -> CommandError {
        match self {
            Self::Other(error) => error,
            Self::Locked(locked) => {
                let hint = locked.hint().map(str::to_owned);
                let act = format!("another capn command is using the plane in {}", state.path());
                CommandError::caused(act, *locked).hints(hint)
            }
        }
    }
}

/// Returns all CRDs of the plane: those of Cluster API and of capn.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    std::thread::scope(|scope| {
        let groups = capi_api::GROUPS.into_iter().chain([capn_api::crds as fn() -> _]);
        let made: Vec<_> = groups.map(|group| scope.spawn(group)).collect();
        made.into_iter()
            .flat_map(|group| group.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Opens the plane of a state directory, and creates it if it does not exist.
///
/// # Errors
///
/// Returns an error if another process has it open or it cannot be opened.
pub async fn open_plane(state: &StateDir, most: NamespaceLimits) -> Result<Plane, OpenError> {
    state.make().map_err(OpenError::Other)?;
    let path = Some(state.database().into_std_path_buf());
    open(path, quotas(most.machines), most.bytes).await.map_err(|error| match error {
        kube_plane::Error::Locked { .. } => OpenError::Locked(Box::new(error)),
        other => {
            let hint = other.hint().map(str::to_owned);
            let act = format!("cannot open the management plane in {}", state.path());
            OpenError::Other(CommandError::caused(act, other).hints(hint))
        }
    })
}

/// Returns an empty plane in memory.
pub(super) async fn empty_plane() -> Result<Plane, CommandError> {
    open(None, Vec::new(), NamespaceLimits::default().bytes)
        .await
        .map_err(|error| CommandError::caused("cannot open an empty management plane", error))
}

async fn open(
    path: Option<std::path::PathBuf>,
    quotas: Vec<Quota>,
    namespace_bytes: usize,
) -> Result<Plane, kube_plane::Error> {
    let crds = definitions();
    let mut limits = Limits::default();
    limits.connections = limits.connections.within(files::raise());
    let cluster_roles = roles::cluster_roles(&crds);
    let admission = admissions();
    Plane::open(PlaneOptions {
        path,
        crds,
        cluster_roles,
        admission,
        limits,
        quotas,
        namespace_bytes,
        ..PlaneOptions::default()
    })
    .await
}

/// An open plane and what runs on it.
pub(super) struct Embedded {
    plane: Plane,
    stop: watch::Sender<bool>,
    running: JoinSet<Result<(), CommandError>>,
    /// Kubeconfig through which other processes find the plane.
    announced: Option<Utf8PathBuf>,
}

impl Embedded {
    /// Without controllers.
    pub(super) fn idle(plane: Plane) -> Self {
        Self { plane, stop: watch::Sender::new(false), running: JoinSet::new(), announced: None }
    }

    /// With controllers.
    pub(super) fn running(plane: Plane, controllers: Controllers) -> Self {
        let mut embedded = Self::idle(plane);
        // Separate clients, so that they can be distinguished from each other and from operators.
        let client = embedded.plane.controller_client("system:capn-lifecycle");
        let informers = Informers::new(client.clone(), InitialList::Stream);
        let mut options = capn_lifecycle::Options::default();
        options.informers = Some(informers.clone());
        let stop = embedded.stopped();
        embedded.running.spawn(async move {
            capn_lifecycle::run(client, options, stop)
                .await
                .map_err(|error| CommandError::caused("the Cluster API controllers stopped", error))
        });
        let Controllers::All(metrics, local_sockets) = controllers else { return embedded };
        let mut options = capn_provider::Options::default();
        options.metrics = metrics;
        options.local_sockets = local_sockets;
        options.informers = Some(informers);
        let client = embedded.plane.controller_client("system:capn-provider");
        let stop = embedded.stopped();
        embedded.running.spawn(async move {
            capn_provider::run(client, options, stop)
                .await
                .map_err(|error| CommandError::caused("the provider's controllers stopped", error))
        });
        embedded
    }

    /// Serves the plane to other processes until it is closed, and announces it. Returns the URL.
    pub(super) fn serve(&mut self, listener: Listener) -> Result<String, CommandError> {
        listener.announce()?;
        let Listener { listener, tls, url, kubeconfig, renewal, .. } = listener;
        self.announced = Some(kubeconfig);
        let (plane, stop) = (self.plane.clone(), self.stopped());
        self.running.spawn(async move {
            let served = plane.serve_https(listener, &tls, stop);
            let served = tokio::select! {
                served = served => served,
                () = renewal.run() => Ok(()),
            };
            served
                .map_err(|error| CommandError::caused("the plane's API server has stopped", error))
        });
        Ok(url)
    }

    pub(super) fn client(&self) -> Client {
        names::checked(self.plane.client())
    }

    /// Returns a client for a controller with this name.
    pub(super) fn controller_client(&self, name: &str) -> Client {
        names::checked(self.plane.controller_client(name))
    }

    /// Resolves when the controllers should stop.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // A dropped sender means the same.
            drop(stop.wait_for(|stop| *stop).await);
        }
    }

    /// Waits until a controller stops unexpectedly. Never returns if none is running.
    pub(super) async fn ended(&mut self) -> CommandError {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(ended) => outcome(ended)
                .err()
                .unwrap_or_else(|| CommandError::new("the controllers stopped unexpectedly")),
        }
    }

    pub(super) async fn close(mut self) -> Result<(), CommandError> {
        // Removed first, so that no command attaches to a plane that is about to close.
        if let Some(kubeconfig) = &self.announced
            && let Err(error) = std::fs::remove_file(kubeconfig)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%kubeconfig, %error, "cannot remove the kubeconfig of the plane");
        }
        self.stop.send_replace(true);
        let mut result = Ok(());
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                result = std::mem::replace(&mut result, Ok(())).and(outcome(ended));
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("controllers did not finish within {GRACE:?} and were aborted");
            self.running.abort_all();
        }
        self.plane.close().await;
        result
    }
}

fn outcome(
    ended: Result<Result<(), CommandError>, tokio::task::JoinError>,
) -> Result<(), CommandError> {
    match ended {
        Ok(result) => result,
        Err(error) => Err(CommandError::caused("a controller failed", error)),
    }
}
