//! One connection, from its handshake to its end.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt as _};

use crate::{Limits, Peer, response_body::TrackedBody, slots::Slot, write_timeout::WriteTimeout};

/// HTTP/2 flow control windows of a stream and of a connection, by authentication.
const WINDOWS: (u32, u32) = (256 << 10, 512 << 10);
const UNAUTHENTICATED_WINDOWS: (u32, u32) = (64 << 10, 64 << 10);
/// Size of the HTTP/2 send buffer, in bytes.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a peer may open and reset before the connection is closed ("rapid reset").
const MAX_RESETS: usize = 20;
/// Interval of HTTP/2 keep-alive pings.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time for a graceful close after the idle timeout.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Configuration that all connections of a server share.
#[derive(Clone)]
pub(crate) struct Shared<M> {
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) limits: Limits,
    pub(crate) make_service: M,
    pub(crate) closing: CancellationToken,
}

/// Answers the requests of a connection until it ends or its slot is taken.
pub(crate) async fn run<M, S, B>(
    shared: Shared<M>,
    stream: TcpStream,
    address: SocketAddr,
    slot: Arc<Slot>,
) -> Result<(), String>
where
    M: Fn(Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let Shared { tls, limits, make_service, closing } = shared;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = WriteTimeout::new(stream, limits.write_timeout);
    let Some(tls) = tls else {
        let service = make_service(Peer { address, certificate: None, slot: Arc::clone(&slot) });
        return serve_connection(stream, service, slot, closing, limits).await;
    };
    let handshake = timeout(limits.handshake, tls.accept(stream));
    let stream = tokio::select! {
        stream = handshake => stream,
        () = slot.evicted.cancelled() => return Err("evicted in favor of another connection".to_owned()),
        () = closing.cancelled() => return Ok(()),
    };
    let stream = stream
        .map_err(|_| "the TLS handshake timed out".to_owned())?
        .map_err(|error| format!("the TLS handshake failed: {error}"))?;
    let certificate = stream.get_ref().1.peer_certificates();
    let certificate = certificate.and_then(<[_]>::first).map(|first| first.clone().into_owned());
    let service = make_service(Peer { address, certificate, slot: Arc::clone(&slot) });
    serve_connection(stream, service, slot, closing, limits).await
}

async fn serve_connection<I, S, B>(
    stream: I,
    service: S,
    slot: Arc<Slot>,
    closing: CancellationToken,
    limits: Limits,
) -> Result<(), String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let owner = Arc::clone(&slot);
    let handler = service_fn(move |request: Request<Incoming>| {
        let running = owner.begin();
        let response = service.clone().oneshot(request);
        async move {
            let response = match limits.response {
                None => response.await,
                Some(limit) => timeout(limit, response).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, "the response timed out")
                })?,
            };
            let Ok(response) = response;
            Ok::<_, io::Error>(response.map(|body| TrackedBody::new(body, running)))
        }
    });
    let builder = builder(&limits, slot.is_unauthenticated());
    let connection = builder.serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    // Set when the connection has been asked to close.
    let mut until: Option<Instant> = None;
    loop {
        let deadline = until.or_else(|| slot.idle_until());
        // A connection with a running request is checked again after the shortest idle time.
        let deadline = deadline.unwrap_or_else(|| Instant::now() + limits.unauthenticated_idle);
        let deadline = deadline.min(slot.unread_until().unwrap_or(deadline));
        tokio::select! {
            result = &mut connection => return result.map_err(|error| error.to_string()),
            () = slot.evicted.cancelled() => return Err("evicted in favor of another connection".to_owned()),
            () = closing.cancelled(), if until.is_none() => {
                connection.as_mut().graceful_shutdown();
                until = Some(Instant::now() + limits.grace);
            }
            () = sleep_until(deadline) => {
                if slot.unread_until().is_some_and(|end| end <= Instant::now()) {
                    return Err("the client does not read a response".to_owned());
                }
                if until.is_some_and(|until| until <= Instant::now()) {
                    return Ok(());
                }
                if slot.idle_until().is_some_and(|idle| idle <= Instant::now()) {
                    connection.as_mut().graceful_shutdown();
                    until = Some(Instant::now() + CLOSE_GRACE);
                }
            }
        }
    }
}

fn builder(limits: &Limits, unauthenticated: bool) -> Builder<TokioExecutor> {
    let (windows, streams) = match unauthenticated {
        true => (UNAUTHENTICATED_WINDOWS, limits.unauthenticated_streams),
        false => (WINDOWS, limits.streams),
    };
    let header_bytes =
        if unauthenticated { limits.header_bytes.min(16 << 10) } else { limits.header_bytes };
    let mut builder = Builder::new(TokioExecutor::new());
    // Idle timeouts are handled here, for both versions of HTTP.
    let buffer = usize::try_from(header_bytes).unwrap_or(usize::MAX);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(buffer.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_concurrent_streams(streams)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(windows.0)
        .initial_connection_window_size(windows.1)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS);
    builder
}
