//! Connections to the server.
//!
//! The connector is chosen in a constructor of [`crate::Client`]; nothing else depends on it. The
//! client uses HTTP/1.1 only, because WebSockets need upgrades.

mod failover;
mod server_certificate;
mod stream;
mod tls;
mod verify;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

pub(crate) use failover::Endpoint;
pub use server_certificate::server_certificate;
pub(crate) use stream::Stream;
pub use tls::{HttpsRemote, TlsError, certificate_fingerprint};
pub(crate) use tls::{NotPermitted, Tls, is_not_permitted};

type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// Connector to the server. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Connector {
    /// A unix socket.
    Unix(Arc<PathBuf>),
    /// TLS over TCP.
    Tls(Arc<Tls>),
    /// A connector supplied by the caller.
    Custom(Arc<dyn Fn() -> Connecting + Send + Sync>),
    /// The first of several endpoints that connects.
    Any(Arc<failover::Endpoints>),
}

impl Connector {
    pub(crate) fn custom<F, Fut, S>(connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        Self::Custom(Arc::new(move || {
            let connecting = connect();
            Box::pin(async move { Ok(Stream::new(connecting.await?)) })
        }))
    }

    /// Returns whether a connection may use a unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tls(_) | Self::Custom(_) => false,
            Self::Any(endpoints) => endpoints.any_is_unix(),
        }
    }

    fn connect(&self) -> Connecting {
        match self {
            Self::Unix(path) => {
                let path = Arc::clone(path);
                Box::pin(async move { Ok(Stream::new(UnixStream::connect(path.as_path()).await?)) })
            }
            Self::Tls(tls) => {
                let tls = Arc::clone(tls);
                Box::pin(async move { Ok(Stream::new(tls.connect().await?)) })
            }
            Self::Custom(connect) => connect(),
            Self::Any(endpoints) => {
                let endpoints = Arc::clone(endpoints);
                Box::pin(async move { endpoints.connect().await })
            }
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The URI only carries the path and the `Host` header; the address is already known.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = self.connect();
        Box::pin(async move { Ok(TokioIo::new(connecting.await?)) })
    }
}
