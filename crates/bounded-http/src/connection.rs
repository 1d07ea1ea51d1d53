//! One connection, from its handshake to its end.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
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

use crate::{
    Limits, Peer,
    places::{Place, Running},
    stalled::Stalled,
};

/// What HTTP/2 may send ahead of being read, of one request and of a connection; of a stranger.
const WINDOWS: (u32, u32) = (256 << 10, 512 << 10);
const STRANGER_WINDOWS: (u32, u32) = (64 << 10, 64 << 10);
/// Bytes of an answer that HTTP/2 keeps for a peer that does not take them.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a peer may open and reset before the connection ends ("rapid reset").
const RESETS: usize = 20;
/// Pings that find out whether a peer is still there (HTTP/2).
const PING: Duration = Duration::from_secs(30);
/// Time for a connection to say good-bye after it was idle too long.
const GOODBYE: Duration = Duration::from_secs(1);

/// What all connections of a server share.
#[derive(Clone)]
pub(crate) struct Common<M> {
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) limits: Limits,
    pub(crate) make: M,
    pub(crate) closing: CancellationToken,
}

/// Answers the requests of a connection until it ends, or loses its place.
pub(crate) async fn run<M, S, B>(
    common: Common<M>,
    stream: TcpStream,
    address: SocketAddr,
    place: Arc<Place>,
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
    let Common { tls, limits, make, closing } = common;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = Stalled::new(stream, limits.stalled);
    let Some(tls) = tls else {
        let service = make(Peer { address, certificate: None, place: Arc::clone(&place) });
        return speak(stream, service, place, closing, limits).await;
    };
    let handshake = timeout(limits.handshake, tls.accept(stream));
    let stream = tokio::select! {
        stream = handshake => stream,
        () = place.evicted.cancelled() => return Err("others need the place".to_owned()),
        () = closing.cancelled() => return Ok(()),
    };
    let stream = stream
        .map_err(|_| "the TLS handshake took too long".to_owned())?
        .map_err(|error| format!("TLS handshake: {error}"))?;
    let certificate = stream.get_ref().1.peer_certificates();
    let certificate = certificate.and_then(<[_]>::first).map(|first| first.clone().into_owned());
    let service = make(Peer { address, certificate, place: Arc::clone(&place) });
    speak(stream, service, place, closing, limits).await
}

async fn speak<I, S, B>(
    stream: I,
    service: S,
    place: Arc<Place>,
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
    let owner = Arc::clone(&place);
    let handler = service_fn(move |request: Request<Incoming>| {
        let running = owner.begin();
        let answer = service.clone().oneshot(request);
        async move {
            let answer = match limits.answer {
                None => answer.await,
                Some(limit) => timeout(limit, answer).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, "the answer took too long")
                })?,
            };
            let Ok(answer) = answer;
            Ok::<_, io::Error>(answer.map(|body| Busy { body: Box::pin(body), _running: running }))
        }
    });
    let builder = builder(&limits, place.is_stranger());
    let connection = builder.serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    // Set when the connection was told to end.
    let mut until: Option<Instant> = None;
    loop {
        let look = until.or_else(|| place.idle_until());
        // A request that is being answered is looked at again after the shortest idle time.
        let look = look.unwrap_or_else(|| Instant::now() + limits.stranger_idle);
        tokio::select! {
            result = &mut connection => return result.map_err(|error| error.to_string()),
            () = place.evicted.cancelled() => return Err("others need the place".to_owned()),
            () = closing.cancelled(), if until.is_none() => {
                connection.as_mut().graceful_shutdown();
                until = Some(Instant::now() + limits.grace);
            }
            () = sleep_until(look) => {
                if until.is_some() {
                    return Ok(());
                }
                if place.idle_until().is_some_and(|idle| idle <= Instant::now()) {
                    connection.as_mut().graceful_shutdown();
                    until = Some(Instant::now() + GOODBYE);
                }
            }
        }
    }
}

fn builder(limits: &Limits, stranger: bool) -> Builder<TokioExecutor> {
    let (windows, streams) = match stranger {
        true => (STRANGER_WINDOWS, limits.stranger_streams),
        false => (WINDOWS, limits.streams),
    };
    let header_bytes =
        if stranger { limits.header_bytes.min(16 << 10) } else { limits.header_bytes };
    let mut builder = Builder::new(TokioExecutor::new());
    // Idle times are kept here, for both versions alike.
    let buffer = usize::try_from(header_bytes).unwrap_or(usize::MAX);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(buffer.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_concurrent_streams(streams)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(windows.0)
        .initial_connection_window_size(windows.1)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    builder
}

/// A body whose connection is not idle.
struct Busy<B> {
    body: Pin<Box<B>>,
    _running: Running,
}

impl<B: Body> Body for Busy<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
