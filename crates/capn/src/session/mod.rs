//! A management plane to work with: opened in this process, or served by `capn serve`.

mod admission;
mod embedded;
pub mod quotas;
pub mod roles;
mod served;
mod share;
mod work;

use std::net::SocketAddr;
use std::time::Duration;

use capn_provider::LocalSockets;
use kube::Client;
use kube_plane::Plane;

use crate::error::CommandError;
use crate::state::StateDir;

pub use embedded::{OpenError, definitions, open_plane};
pub use served::url;
pub use share::Holder;
pub use work::on_cluster;

use embedded::Embedded;
use share::Door;

/// How long another command may have the plane before this one gives up: one that only reads is
/// through by then.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two tries.
const RETRY: Duration = Duration::from_millis(100);

/// What a command needs of the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Objects only. A state folder without a plane is an empty plane.
    Objects,
    /// Objects and controllers that work on them, for which local sockets are for these namespaces.
    Controllers(&'a LocalSockets),
}

/// Which controllers run on a plane.
#[derive(Clone, Debug)]
pub enum Controllers {
    /// Cluster API's and the provider's, which counts into these metrics, and uses local sockets for
    /// these namespaces.
    All(capn_provider::Metrics, LocalSockets),
    /// Cluster API's alone; the provider is another process.
    Lifecycle,
}

/// A plane to work with, until [`Session::close`].
pub struct Session {
    client: Client,
    embedded: Option<Embedded>,
}

impl Session {
    /// Opens the plane of the state folder, or attaches to the process that has it open:
    /// `capn serve` for everything, another command for reading.
    ///
    /// # Errors
    ///
    /// When the plane cannot be opened, or another command is using it.
    pub async fn open(state: &StateDir, need: Need<'_>) -> Result<Self, CommandError> {
        if need == Need::Objects && !state.database().exists() {
            let plane = embedded::empty_plane().await?;
            return Ok(Self::embedded(Embedded::idle(plane)));
        }
        Self::open_or_make(state, need).await
    }

    /// As [`Session::open`], but makes the plane if there is none, also for its objects alone.
    ///
    /// # Errors
    ///
    /// As [`Session::open`].
    pub async fn open_or_make(state: &StateDir, need: Need<'_>) -> Result<Self, CommandError> {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            let locked = match open_plane(state, quotas::MACHINES).await {
                Ok(plane) => return Ok(Self::embedded(Self::start(plane, state, need).await)),
                Err(OpenError::Locked(locked)) => locked,
                Err(OpenError::Other(error)) => return Err(error),
            };
            if let Some(client) = served::attach(state, need).await {
                tracing::info!("attached to the plane that another process has open");
                return Ok(Self { client, embedded: None });
            }
            if tokio::time::Instant::now() > patience {
                return Err(served::busy(state, *locked));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn start(plane: Plane, state: &StateDir, need: Need<'_>) -> Embedded {
        let Need::Controllers(sockets) = need else { return Embedded::idle(plane) };
        let controllers = Controllers::All(Default::default(), sockets.clone());
        let mut embedded = Embedded::running(plane, controllers);
        // Others can look on while this command works; it works also if they cannot.
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let shared = match Door::open(state, any_port, &[], Holder::Command).await {
            Ok(door) => embedded.serve(door).map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = shared {
            tracing::info!(%error, "others cannot look on");
        }
        embedded
    }

    fn embedded(embedded: Embedded) -> Self {
        Self { client: embedded.client(), embedded: Some(embedded) }
    }

    /// The client of the plane.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether somebody else's process runs the plane and its controllers.
    pub fn is_served(&self) -> bool {
        self.embedded.is_none()
    }

    /// Does `work` while the controllers run. Ends early, with an error, if one of them does.
    ///
    /// # Errors
    ///
    /// That of `work`, or that a controller ended.
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

    /// Stops the controllers, writes everything back and frees the plane for others.
    ///
    /// # Errors
    ///
    /// When a controller had failed. Nothing is lost then: all state is in the objects.
    pub async fn close(self) -> Result<(), CommandError> {
        let Self { client, embedded } = self;
        drop(client);
        match embedded {
            None => Ok(()),
            Some(embedded) => embedded.close().await,
        }
    }
}

/// A plane with its controllers that is served to other processes.
pub struct Serving {
    embedded: Embedded,
    url: String,
}

impl Serving {
    /// Opens the plane, starts controllers and server, and tells others.
    ///
    /// # Errors
    ///
    /// When another process has the plane open, or the address cannot be listened on.
    pub async fn start(
        state: &StateDir,
        listen: SocketAddr,
        hosts: &[String],
        controllers: Controllers,
        machines_per_namespace: usize,
    ) -> Result<Self, CommandError> {
        let plane = open_plane(state, machines_per_namespace).await;
        let plane = plane.map_err(|error| error.into_command(state))?;
        let door = Door::open(state, listen, hosts, Holder::Serve).await?;
        let mut embedded = Embedded::running(plane, controllers);
        let url = embedded.serve(door)?;
        Ok(Self { embedded, url })
    }

    /// Where the plane is reached.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of the plane for a controller of this name.
    pub fn client(&self, name: &str) -> Client {
        self.embedded.controller_client(name)
    }

    /// Waits until something ends although nobody asked it to.
    pub async fn ended(&mut self) -> CommandError {
        self.embedded.ended().await
    }

    /// Stops everything and writes everything back.
    ///
    /// # Errors
    ///
    /// As [`Session::close`].
    pub async fn close(self) -> Result<(), CommandError> {
        self.embedded.close().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_session_that_is_closed_at_once_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(folder.path()).unwrap());
        let session =
            Session::open(&state, Need::Controllers(&LocalSockets::default())).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(10), session.close()).await;
        closed.expect("controllers end when they are told to").unwrap();
    }

    #[tokio::test]
    async fn others_can_look_on_while_a_command_works_but_not_work_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(folder.path()).unwrap());
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
    async fn a_plane_that_somebody_has_open_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(folder.path()).unwrap());
        let first = Session::open_or_make(&state, Need::Objects).await.unwrap();
        let error =
            Session::open(&state, Need::Controllers(&LocalSockets::default())).await.err().unwrap();
        let text = error.render(|_, text| text.to_owned());
        assert!(text.contains("another capn command is at work"), "{text}");
        first.close().await.unwrap();
        Session::open(&state, Need::Objects).await.unwrap().close().await.unwrap();
    }
}
