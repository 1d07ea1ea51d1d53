//! A management plane to work with: opened in this process, or served by `capn serve`.

mod admission;
mod embedded;
mod served;

use kube::Client;
use kube_plane::{Plane, ServerTls};
use tokio::net::TcpListener;

use crate::error::CommandError;
use crate::state::StateDir;

pub use embedded::{OpenError, definitions, open_plane};

use embedded::Embedded;

/// What a command needs of the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Objects only. A state folder without a plane is an empty plane.
    Objects,
    /// Objects and controllers that work on them.
    Controllers,
}

/// A plane to work with, until [`Session::close`].
pub struct Session {
    client: Client,
    embedded: Option<Embedded>,
}

impl Session {
    /// Opens the plane of the state folder, or attaches to the `capn serve` that has it open.
    ///
    /// # Errors
    ///
    /// When the plane cannot be opened, or another command is using it.
    pub async fn open(state: &StateDir, need: Need) -> Result<Self, CommandError> {
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
    pub async fn open_or_make(state: &StateDir, need: Need) -> Result<Self, CommandError> {
        match open_plane(state).await {
            Ok(plane) => Ok(Self::embedded(match need {
                Need::Objects => Embedded::idle(plane),
                Need::Controllers => Embedded::running(plane),
            })),
            Err(OpenError::Locked(locked)) => {
                let client = served::attach(state, *locked).await?;
                tracing::info!("attached to the plane that is served");
                Ok(Self { client, embedded: None })
            }
            Err(OpenError::Other(error)) => Err(error),
        }
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
pub struct Serving(Embedded);

impl Serving {
    /// Starts controllers and server.
    pub fn start(plane: Plane, listener: TcpListener, tls: ServerTls) -> Self {
        let mut embedded = Embedded::running(plane);
        embedded.serve(listener, tls);
        Self(embedded)
    }

    /// Waits until something ends although nobody asked it to.
    pub async fn ended(&mut self) -> CommandError {
        self.0.ended().await
    }

    /// Stops everything and writes everything back.
    ///
    /// # Errors
    ///
    /// As [`Session::close`].
    pub async fn close(self) -> Result<(), CommandError> {
        self.0.close().await
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
        let session = Session::open(&state, Need::Controllers).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(10), session.close()).await;
        closed.expect("controllers end when they are told to").unwrap();
    }

    #[tokio::test]
    async fn a_plane_that_somebody_has_open_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(folder.path()).unwrap());
        let first = Session::open_or_make(&state, Need::Objects).await.unwrap();
        let error = Session::open(&state, Need::Controllers).await.err().unwrap();
        let text = error.render(|_, text| text.to_owned());
        assert!(text.contains("another capn command is at work"), "{text}");
        first.close().await.unwrap();
        Session::open(&state, Need::Objects).await.unwrap().close().await.unwrap();
    }
}
