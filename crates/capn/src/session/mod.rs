//! A session with the management plane, opened in this process or served by another one.

mod admission;
mod embedded;
mod listener;
mod lock_wait;
pub mod quotas;
pub mod roles;
mod served;
mod work;

use std::net::SocketAddr;

use capn_controller::names::checked;
use capn_provider::LocalSockets;
use kube::Client;
use kube_plane::Plane;

use self::quotas::NamespaceLimits;
use crate::error::CommandError;
use crate::state::StateDir;
use crate::trust;

pub use embedded::{OpenError, definitions, open_plane};
pub use listener::Holder;
pub use served::url;
pub use work::on_cluster;

use embedded::Embedded;
use listener::Listener;
use lock_wait::LockWait;

/// What a command needs from the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Objects only. A state directory without a plane counts as an empty plane.
    Objects,
    /// Objects and running controllers. Local sockets may be used in the namespaces that `capn
    /// serve` recorded; without a record, in these.
    Controllers(&'a LocalSockets),
}

/// Controllers that run on a plane.
#[derive(Clone, Debug)]
pub enum Controllers {
    /// Cluster API's and the provider's controllers, with these metrics; local sockets may be used
    /// in these namespaces.
    All(capn_provider::Metrics, LocalSockets),
    /// Only Cluster API's controllers; the provider is another process. Other commands may use local
    /// sockets in these namespaces.
    Lifecycle(LocalSockets),
}

/// A session with a plane, until [`Session::close`].
pub struct Session {
    client: Client,
    embedded: Option<Embedded>,
}

impl Session {
    /// Opens the plane of the state directory, or attaches to the process that has it open: `capn
    /// serve` for everything, another command for reading.
    ///
    /// Waits for another working command, and tells the user which one.
    ///
    /// # Errors
    ///
    /// Returns an error if the plane cannot be opened, if the other command does not finish, or if
    /// ctrl-C ends the wait.
    pub async fn open(state: &StateDir, need: Need<'_>) -> Result<Self, CommandError> {
        if need == Need::Objects && !state.database().exists() {
            let plane = embedded::empty_plane().await?;
            return Ok(Self::embedded(Embedded::idle(plane)));
        }
        Self::open_or_make(state, need).await
    }

    /// Like [`Session::open`], but also creates the plane if only objects are needed.
    ///
    /// # Errors
    ///
    /// Like [`Session::open`].
    pub async fn open_or_make(state: &StateDir, need: Need<'_>) -> Result<Self, CommandError> {
        let mut lock_wait = LockWait::new(state);
        loop {
            let locked = match open_plane(state, NamespaceLimits::default()).await {
                Ok(plane) => return Ok(Self::embedded(Self::start(plane, state, need).await?)),
                Err(OpenError::Locked(locked)) => locked,
                Err(OpenError::Other(error)) => return Err(error),
            };
            if let Some(client) = served::attach(state, need).await {
                tracing::info!("attached to the plane that another process has open");
                return Ok(Self { client, embedded: None });
            }
            lock_wait.wait(*locked).await?;
        }
    }

    async fn start(
        plane: Plane,
        state: &StateDir,
        need: Need<'_>,
    ) -> Result<Embedded, CommandError> {
        let Need::Controllers(sockets) = need else { return Ok(Embedded::idle(plane)) };
        // Objects of tenants of `capn serve` are reconciled, too.
        let sockets = match trust::sockets(&checked(plane.client()), sockets).await {
            Ok(sockets) => sockets,
            Err(error) => {
                plane.close().await;
                return Err(error);
            }
        };
        let controllers = Controllers::All(Default::default(), sockets);
        let mut embedded = Embedded::running(plane, controllers);
        // Lets other commands read while this one works. Not essential.
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let shared = match Listener::open(state, any_port, &[], Holder::Command).await {
            Ok(listener) => embedded.serve(listener).map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = shared {
            tracing::info!(%error, "cannot serve the plane to other commands");
        }
        Ok(embedded)
    }

    fn embedded(embedded: Embedded) -> Self {
        Self { client: embedded.client(), embedded: Some(embedded) }
    }

    /// Returns a client for the plane.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns whether another process runs the plane and its controllers.
    pub fn is_served(&self) -> bool {
        self.embedded.is_none()
    }

    /// Runs `work` while the controllers run. Returns early with an error if a controller stops.
    ///
    /// # Errors
    ///
    /// Returns the error of `work`, or an error if a controller stopped.
    pub async fn while_running<T>(
        &mut self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        match &mut self.embedded {
            None => work.await,
            Some(embedded) => tokio::select! {
                result = work => result,
                ended = embedded.ended() => Err(ended),
            },
        }
    }

    /// Stops the controllers, flushes the database and releases the plane.
    ///
    /// # Errors
    ///
    /// Returns an error if a controller failed. Nothing is lost: all state is in the objects.
    pub async fn close(self) -> Result<(), CommandError> {
        let Self { client, embedded } = self;
        drop(client);
        match embedded {
            None => Ok(()),
            Some(embedded) => embedded.close().await,
        }
    }
}

/// A plane with controllers that is served to other processes.
pub struct Serving {
    embedded: Embedded,
    url: String,
}

impl Serving {
    /// Opens the plane, starts controllers and API server, and announces them.
    ///
    /// # Errors
    ///
    /// Returns an error if another process has the plane open, or if the address is not available.
    pub async fn start(
        state: &StateDir,
        listen: SocketAddr,
        hosts: &[String],
        controllers: Controllers,
        limits: NamespaceLimits,
    ) -> Result<Self, CommandError> {
        let plane = open_plane(state, limits).await;
        let plane = plane.map_err(|error| error.into_command(state))?;
        let listener = Listener::open(state, listen, hosts, Holder::Serve).await?;
        let (Controllers::All(_, sockets) | Controllers::Lifecycle(sockets)) = &controllers;
        // Before anyone can be served.
        if let Err(error) = trust::record(&checked(plane.client()), sockets).await {
            plane.close().await;
            return Err(error);
        }
        let mut embedded = Embedded::running(plane, controllers);
        let url = embedded.serve(listener)?;
        Ok(Self { embedded, url })
    }

    /// Returns the URL of the plane.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns a client of the plane for a controller with this name.
    pub fn client(&self, name: &str) -> Client {
        self.embedded.controller_client(name)
    }

    /// Waits until something stops unexpectedly.
    pub async fn ended(&mut self) -> CommandError {
        self.embedded.ended().await
    }

    /// Stops everything and flushes the database.
    ///
    /// # Errors
    ///
    /// Like [`Session::close`].
    pub async fn close(self) -> Result<(), CommandError> {
        self.embedded.close().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_session_closed_at_once_ends_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(dir.path()).unwrap());
        let session =
            Session::open(&state, Need::Controllers(&LocalSockets::default())).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(10), session.close()).await;
        closed.expect("controllers stop when requested").unwrap();
    }

    #[tokio::test]
    async fn other_commands_can_read_but_not_change_while_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(dir.path()).unwrap());
        let working =
            Session::open(&state, Need::Controllers(&LocalSockets::default())).await.unwrap();
        let looking = Session::open(&state, Need::Objects).await.unwrap();
        assert!(looking.is_served());
        looking.client().apiserver_version().await.unwrap();
        assert!(Session::open(&state, Need::Controllers(&LocalSockets::default())).await.is_err());
        looking.close().await.unwrap();
        working.close().await.unwrap();
        assert!(!state.plane_kubeconfig().exists());
    }

    #[tokio::test]
    async fn a_command_waits_for_a_running_one_and_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let (_, err, ui) = crate::ui::testing::captured();
        let state = StateDir::at(camino::Utf8Path::from_path(dir.path()).unwrap()).telling(ui);
        let sockets = LocalSockets::default();
        let working = Session::open(&state, Need::Controllers(&sockets)).await.unwrap();
        let second = Session::open(&state, Need::Controllers(&sockets));
        tokio::pin!(second);
        let told = async {
            while !err.text().contains("waiting for") {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = &mut second => panic!("it did not wait"),
            told = tokio::time::timeout(Duration::from_secs(60), told) => told.expect("the user is told"),
        }
        let process = format!("(process {})", std::process::id());
        assert!(err.text().contains(&process), "{}", err.text());
        working.close().await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(60), second).await;
        second.expect("it is the second's turn").unwrap().close().await.unwrap();
        assert_eq!(err.text().lines().count(), 1, "{}", err.text());
    }

    #[tokio::test]
    async fn a_locked_plane_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(dir.path()).unwrap());
        let first = Session::open_or_make(&state, Need::Objects).await.unwrap();
        let error =
            Session::open(&state, Need::Controllers(&LocalSockets::default())).await.err().unwrap();
        let text = error.render(|_, text| text.to_owned());
        assert!(text.contains("another capn command is running"), "{text}");
        first.close().await.unwrap();
        Session::open(&state, Need::Objects).await.unwrap().close().await.unwrap();
    }
}
