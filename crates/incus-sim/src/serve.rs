//! Connections to the simulator, with faults.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

use crate::api_error::error;
use crate::fault::FaultKind;
use crate::server_state::{Connection, Simulator};

/// Maximum size of a request body; images of tests are smaller.
const BODY_LIMIT: usize = 64 << 20;

impl Simulator {
    /// The routes, without faults.
    pub fn router(&self) -> Router {
        crate::routes::router(self.clone())
    }

    /// Connects in memory, for the client's custom connector. Must be called within a Tokio
    /// runtime.
    pub fn connector(
        &self,
    ) -> impl Fn() -> std::future::Ready<io::Result<DuplexStream>> + Clone + Send + Sync + 'static
    {
        // Built once, because it takes longer than answering a request.
        let (simulator, router) = (self.clone(), self.router());
        move || std::future::ready(Ok(simulator.connect(router.clone())))
    }

    /// Serves on a unix socket at `path`, which must not exist, until the returned value is
    /// dropped. The server then appears down: its connections break and new ones are refused. It
    /// can listen again, any number of times, and on several sockets at once, as the members of a
    /// server cluster do.
    ///
    /// # Errors
    /// Returns the error of the operating system when the socket cannot be created.
    pub fn listen(&self, path: impl Into<PathBuf>) -> io::Result<Listening> {
        let path: Arc<Path> = path.into().into();
        let listener = UnixListener::bind(&path)?;
        let (simulator, router, socket) = (self.clone(), self.router(), path.clone());
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                simulator.attach(stream, router.clone(), Some(socket.clone()));
            }
        }));
        Ok(Listening { simulator: self.clone(), path, _accepting: accepting })
    }

    fn connect(&self, router: Router) -> DuplexStream {
        let (client, near) = tokio::io::duplex(64 << 10);
        self.attach(near, router, None);
        client
    }

    /// Serves one connection in the background.
    fn attach(
        &self,
        mut near: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        router: Router,
        socket: Option<Arc<Path>>,
    ) {
        let (mut far, server) = tokio::io::duplex(64 << 10);
        let simulator = self.clone();
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            simulator.clone().serve(router.clone(), request.map(Body::new))
        });
        tokio::spawn(async move {
            let serving = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            // An error is an injected cut.
            drop(serving.serve_connection_with_upgrades(TokioIo::new(server), service).await);
        });
        // Only the pipe is cut: WebSockets live on in tasks of their own.
        let pipe = tokio::spawn(async move {
            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
        });
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.pipe.is_finished());
        connections.push(Connection { socket, pipe: AbortOnDropHandle::new(pipe) });
    }

    async fn serve(self, router: Router, request: http::Request<Body>) -> io::Result<Response> {
        let cut = || Err(io::ErrorKind::ConnectionReset.into());
        let path = request.uri().path_and_query().map_or("", |p| p.as_str()).to_owned();
        let (fault, latency) = {
            let mut state = self.lock();
            (state.schedule.next(request.method().as_str(), &path), state.conditions.latency)
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        match fault {
            None => Ok(answer(router, request).await),
            Some(FaultKind::Fail(status)) => {
                let status = http::StatusCode::from_u16(status)
                    .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
                Ok(error(status, "injected fault"))
            }
            Some(FaultKind::CutBefore) => cut(),
            Some(FaultKind::CutAfter) => {
                drop(answer(router, request).await);
                cut()
            }
            Some(FaultKind::Restart) => {
                drop(answer(router, request).await);
                self.restart();
                cut()
            }
            Some(FaultKind::StallBefore) => self.stall().await,
            Some(FaultKind::StallAfter) => {
                drop(answer(router, request).await);
                self.stall().await
            }
            Some(FaultKind::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(answer(router, request).await)
            }
            Some(FaultKind::Twice) => {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, BODY_LIMIT).await.map_err(io::Error::other)?;
                let mut first = http::Request::new(Body::from(body.clone()));
                *first.method_mut() = head.method.clone();
                *first.uri_mut() = head.uri.clone();
                *first.headers_mut() = head.headers.clone();
                drop(answer(router.clone(), first).await);
                Ok(answer(router, http::Request::from_parts(head, Body::from(body))).await)
            }
        }
    }
}

async fn answer(router: Router, request: http::Request<Body>) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A unix socket served by the simulator; see [`Simulator::listen`].
#[must_use = "dropping this closes the socket"]
pub struct Listening {
    simulator: Simulator,
    path: Arc<Path>,
    _accepting: AbortOnDropHandle<()>,
}

impl Listening {
    /// Path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The directory may have been removed already.
        drop(std::fs::remove_file(&self.path));
        let connections = &self.simulator.connections;
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.socket.as_ref() != Some(&self.path));
    }
}
