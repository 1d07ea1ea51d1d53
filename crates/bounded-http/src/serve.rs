//! Accepting connections.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};

use crate::{
    Limits, Peer,
    connection::{self, Shared},
    slots::Slots,
};

/// Delay after `accept` failed, which happens when there are too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Delay after a number of evictions, so that each connection has time for its handshake however
/// fast new ones arrive.
const EVICTION_PAUSE: Duration = Duration::from_millis(1);
const EVICTIONS_PER_PAUSE: usize = 8;

/// Length of the listen queue, which the kernel may reduce (`net.core.somaxconn`). The kernel drops
/// connections beyond it, and their clients retry after one to three seconds.
const BACKLOG: u32 = 4096;

/// Listens on an address with a long queue. Must be called within a Tokio runtime.
///
/// # Errors
///
/// Returns the error of the operating system, for example when the address is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves HTTP/1.1 and HTTP/2 until `shutdown` completes, then lets connections end within the
/// grace time.
///
/// `make_service` creates the service of a connection after its handshake. The service receives a
/// request as soon as its headers have arrived, and reads the body itself.
///
/// The function never returns before the shutdown. When `accept` fails it evicts an unauthenticated
/// connection, logs the failure once and retries. Failures of single connections are logged only.
pub async fn serve<M, S, B>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    make_service: M,
    shutdown: impl Future<Output = ()>,
) where
    M: Fn(Peer) -> S + Clone + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let slots = Slots::new(limits);
    let closing = CancellationToken::new();
    let shared =
        Shared { tls: tls.map(TlsAcceptor::from), limits, make_service, closing: closing.clone() };
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut accept_failing = false;
    let mut evictions = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, address)) => {
                if std::mem::take(&mut accept_failing) {
                    tracing::info!("accepting connections again");
                }
                let (slot, evicted_another) = slots.take(address.ip());
                let connection = connection::run(shared.clone(), stream, address, slot);
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%address, error, "connection failed");
                    }
                });
                evictions += usize::from(evicted_another);
                if evictions == EVICTIONS_PER_PAUSE {
                    evictions = 0;
                    tokio::select! {
                        () = tokio::time::sleep(EVICTION_PAUSE) => {}
                        () = &mut shutdown => break,
                    }
                }
            }
            Err(error) if is_peer_error(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut accept_failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                slots.evict_one();
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_RETRY) => {}
                    () = &mut shutdown => break,
                }
            }
        }
    }
    closing.cancel();
    drop(listener);
    let ended =
        timeout(limits.grace, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        connections.shutdown().await;
    }
}

/// Returns whether the error means that the peer closed its connection before it was accepted.
fn is_peer_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
