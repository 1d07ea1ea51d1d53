//! gRPC over any bidirectional stream.

use std::{io, sync::Mutex, time::Duration};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Timeout of a call: the first sandbox on a slow machine takes several seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the runtime service.
pub(super) struct Runtime(Grpc<Channel>);

impl Runtime {
    /// Connects over `stream`, without reconnects.
    pub(super) async fn connect<S>(stream: S) -> Result<Self, tonic::transport::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Mutex::new(Some(stream));
        let connector = tower::service_fn(move |_| {
            let stream = stream.lock().ok().and_then(|mut stream| stream.take());
            std::future::ready(stream.map(TokioIo::new).ok_or(io::ErrorKind::NotConnected.into()))
                as std::future::Ready<io::Result<TokioIo<S>>>
        });
        // The name is not resolved, but HTTP/2 requires one.
        let endpoint = Endpoint::from_static("http://containerd").timeout(CALL_TIMEOUT);
        Ok(Self(Grpc::new(endpoint.connect_with_connector(connector).await?)))
    }

    /// Calls a method of `runtime.v1.RuntimeService`. `path` is its full path.
    pub(super) async fn call<Q, A>(
        &mut self,
        path: &'static str,
        request: Q,
    ) -> Result<A, tonic::Status>
    where
        Q: prost::Message + Send + 'static,
        A: prost::Message + Default + Send + 'static,
    {
        self.0.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let answer = self
            .0
            .unary(
                tonic::Request::new(request),
                PathAndQuery::from_static(path),
                ProstCodec::<Q, A>::default(),
            )
            .await?;
        Ok(answer.into_inner())
    }
}
