//! HTTPS for clients outside the process.

use std::{future::Future, sync::Arc, time::Duration};

use http::{Request, Response, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    Error, PlaneService, ServerTls, handlers, identity::Identity, service::ResponseBody,
    status::ApiError, tokens::same,
};

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time until the next request of an HTTP/1.1 connection. Longer than clients keep idle connections,
/// so that it is they who close them and no request meets a closing connection.
const IDLE: Duration = Duration::from_secs(300);
/// Time for connections to end after the shutdown.
const GRACE: Duration = Duration::from_secs(3);
/// Pause after the listener failed, as it does when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `shutdown` is ready.
pub(crate) async fn serve(
    mut service: PlaneService,
    listener: TcpListener,
    tls: &ServerTls,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let address = listener
        .local_addr()
        .map_err(|source| Error::Serve { address: "the listener".to_owned(), source })?;
    tracing::info!(%address, "serving HTTPS");
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let _known = tls.token.as_ref().map(|token| service.api.tokens.add(token));
    // Watches of this server end with it, those in process go on.
    let closing = service.shutdown.child_token();
    service.shutdown = closing.clone();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = &mut shutdown => break,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                failures = 0;
                let connection =
                    connection(stream, acceptor.clone(), service.clone(), tls.token.clone());
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%peer, error, "connection failed");
                    }
                });
            }
            Err(source) if failures > 100 => {
                return Err(Error::Serve { address: address.to_string(), source });
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    closing.cancel();
    drop(listener);
    let ended = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        connections.abort_all();
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: PlaneService,
    token: Option<Arc<str>>,
) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| "the TLS handshake took too long".to_owned())?
        .map_err(|error| format!("TLS handshake: {error}"))?;
    let certificates = stream.get_ref().1.peer_certificates();
    let identity =
        certificates.and_then(<[_]>::first).and_then(|certificate| identify(certificate));
    let closing: CancellationToken = service.shutdown.clone();
    let handler = service_fn(move |request: Request<Incoming>| {
        answer(service.clone(), identity.clone(), token.clone(), request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(1000);
    let connection = builder.serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = &mut connection => return result.map_err(|error| error.to_string()),
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(|error| error.to_string())
}

async fn answer(
    mut service: PlaneService,
    identity: Option<Identity>,
    token: Option<Arc<str>>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, std::convert::Infallible> {
    let identity = match identity.or_else(|| bearer(&request, token.as_deref())) {
        Some(identity) => identity,
        // As Kubernetes: probes and the version need no name.
        None if is_public(request.uri().path()) => Identity::anonymous(),
        None => return Ok(handlers::failed(&ApiError::unauthorized())),
    };
    request.extensions_mut().insert(identity);
    service.call(request).await
}

fn is_public(path: &str) -> bool {
    let first = path.trim_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz" | "version")
}

/// User and groups are in the subject, as kubeadm makes certificates.
fn identify(certificate: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization();
    let groups = groups.filter_map(|group| group.as_str().ok().map(str::to_owned)).collect();
    Some(Identity::named(user, groups))
}

fn bearer(request: &Request<Incoming>, token: Option<&str>) -> Option<Identity> {
    let given = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let given = given.strip_prefix("Bearer ")?.trim();
    same(given.as_bytes(), token?.as_bytes()).then(Identity::of_token)
}
