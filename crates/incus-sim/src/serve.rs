//! Connections to the simulator, with faults.

use std::io;
use std::sync::PoisonError;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::DuplexStream;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

use crate::fault::FaultKind;
use crate::refusal::error;
use crate::world::Simulator;

/// Larger bodies than images of tests are refused.
const BODY_LIMIT: usize = 64 << 20;

impl Simulator {
    /// The routes, without faults.
    pub fn router(&self) -> Router {
        crate::routes::router(self.clone())
    }

    /// Makes connections in memory, as the client's custom connector wants it. Needs a tokio
    /// runtime when it is called.
    pub fn connector(
        &self,
    ) -> impl Fn() -> std::future::Ready<io::Result<DuplexStream>> + Clone + Send + Sync + 'static
    {
        let simulator = self.clone();
        move || std::future::ready(Ok(simulator.connect()))
    }

    fn connect(&self) -> DuplexStream {
        let (client, mut near) = tokio::io::duplex(64 << 10);
        let (mut far, server) = tokio::io::duplex(64 << 10);
        let simulator = self.clone();
        let router = self.router();
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            simulator.clone().serve(router.clone(), request.map(Body::new))
        });
        tokio::spawn(async move {
            let serving = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            // An error is a cut, which is what a fault is for.
            drop(serving.serve_connection_with_upgrades(TokioIo::new(server), service).await);
        });
        // What is cut is the pipe: WebSockets live on in tasks of their own.
        let pipe = tokio::spawn(async move {
            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
        });
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.is_finished());
        connections.push(AbortOnDropHandle::new(pipe));
        client
    }

    async fn serve(self, router: Router, request: http::Request<Body>) -> io::Result<Response> {
        let cut = || Err(io::ErrorKind::ConnectionReset.into());
        let path = request.uri().path_and_query().map_or("", |p| p.as_str()).to_owned();
        let fault = self.lock().schedule.next(request.method().as_str(), &path);
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
