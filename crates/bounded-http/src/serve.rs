//! Accepts connections.

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
    connection::{self, Common},
    places::Places,
};

/// Pause after the system refused a connection, as it does when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause after so many connections that took the place of another: however fast they come, one has the
/// time for its handshake before it has to go itself.
const PACE: Duration = Duration::from_millis(1);
const CROWDED: usize = 8;

/// Connections that wait to be accepted, as far as the system allows (`net.core.somaxconn`). Those beyond
/// are dropped by it, and their clients try again after a second or three.
const BACKLOG: u32 = 4096;

/// Listens on an address, with room for many who come at once. Has to be called within a runtime.
///
/// # Errors
///
/// Those of the system, such as that the address is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves HTTP/1.1 and 2 until `shutdown` is ready, then lets connections end within the grace time.
///
/// `make` gives the service of a connection once its handshake is done. The service gets a request
/// when its headers are there; the body is read when the service reads it.
///
/// It never ends before: where the system refuses connections, room is made among the strangers, it is
/// said once in the log, and tried again. A connection that fails is only logged.
pub async fn serve<M, S, B>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    make: M,
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
    let places = Places::new(limits);
    let closing = CancellationToken::new();
    let common = Common { tls: tls.map(TlsAcceptor::from), limits, make, closing: closing.clone() };
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut troubled = false;
    let mut crowd = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, address)) => {
                if std::mem::take(&mut troubled) {
                    tracing::info!("connections are accepted again");
                }
                let (place, crowded) = places.take(address.ip());
                let connection = connection::run(common.clone(), stream, address, place);
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%address, error, "connection failed");
                    }
                });
                crowd += usize::from(crowded);
                if crowd == CROWDED {
                    crowd = 0;
                    tokio::select! {
                        () = tokio::time::sleep(PACE) => {}
                        () = &mut shutdown => break,
                    }
                }
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    tracing::warn!(%error, "the system refuses connections");
                }
                places.make_room();
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
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

/// The peer was gone before its connection was accepted.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
