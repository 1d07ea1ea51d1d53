//! HTTPS server with authentication of clients.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bounded_http::Peer;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::{net::TcpListener, time::Sleep};
use tower::Service;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    Error, PlaneService, ServerTls,
    handlers::{self, ResponseTimeout},
    identity::Identity,
    service::ResponseBody,
    status::ApiError,
    tokens::same,
};

/// Longest duration of a response: that of a watch, and some time to read it.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// Accepts connections until `shutdown` completes.
pub(crate) async fn serve(
    mut service: PlaneService,
    limits: bounded_http::Limits,
    listener: TcpListener,
    tls: &ServerTls,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let address = listener
        .local_addr()
        .map_err(|source| Error::Serve { address: "the listener".to_owned(), source })?;
    tracing::info!(%address, "serving HTTPS");
    let _known = tls.token.as_ref().map(|token| service.api.tokens.add(token));
    // Watches of this server end with it; in-process watches continue.
    let closing = service.shutdown.child_token();
    service.shutdown = closing.clone();
    let ended = async {
        tokio::select! {
            () = shutdown => {}
            () = closing.cancelled() => {}
        }
        closing.cancel();
    };
    let token = tls.token.clone();
    let make = move |peer: Peer| {
        let client = Client::new(service.clone(), token.clone(), peer);
        tower::service_fn(move |request| client.clone().answer(request))
    };
    bounded_http::serve(listener, Some(Arc::clone(&tls.config)), limits, make, ended).await;
    Ok(())
}

/// The client of a connection.
#[derive(Clone)]
struct Client {
    service: PlaneService,
    token: Option<Arc<str>>,
    peer: Peer,
    /// Identity from the certificate, and whether there was a connection slot for the user.
    identity: Option<(Identity, bool)>,
    /// When the certificate expires.
    expires: Option<SystemTime>,
}

impl Client {
    fn new(service: PlaneService, token: Option<Arc<str>>, peer: Peer) -> Self {
        let known = peer.certificate.as_ref().and_then(|certificate| identify(certificate));
        let expires = known.as_ref().map(|(_, expires)| *expires);
        let identity = known.map(|(identity, _)| {
            let placed = peer.identify(&identity.user, identity.is_master());
            (identity, placed)
        });
        Self { service, token, peer, identity, expires }
    }

    async fn answer(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let Self { mut service, token, peer, identity, expires } = self;
        // TLS verifies a certificate once; a connection and a resumed session outlive it.
        let left = expires.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(handlers::failed(&ApiError::unauthorized()));
        }
        let known = identity.or_else(|| {
            let identity = bearer(&request, token.as_deref())?;
            let placed = peer.identify(&identity.user, identity.is_master());
            Some((identity, placed))
        });
        let identity = match known {
            Some((identity, true)) => identity,
            Some((_, false)) => {
                let why = "Too many connections, please close some or try again later.";
                return Ok(handlers::failed(&ApiError::too_many_requests(why)));
            }
            // As in Kubernetes, probes and the version need no authentication.
            None if is_public(request.uri().path()) => Identity::anonymous(),
            None => return Ok(handlers::failed(&ApiError::unauthorized())),
        };
        request.extensions_mut().insert(identity);
        let response = service.call(request).await?;
        Ok(match left.filter(|left| *left < LONGEST) {
            None => response,
            Some(left) => response.map(|body| UnsyncBoxBody::new(UntilExpiry::new(body, left))),
        })
    }
}

fn is_public(path: &str) -> bool {
    let first = path.trim_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz" | "version")
}

/// As in certificates of kubeadm, user and groups are in the subject.
fn identify(certificate: &[u8]) -> Option<(Identity, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization();
    let groups = groups.filter_map(|group| group.as_str().ok().map(str::to_owned)).collect();
    let expires = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(expires);
    Some((Identity::named(user, groups), expires))
}

/// A response body that ends when the certificate of its client expires.
struct UntilExpiry {
    body: ResponseBody,
    end: Pin<Box<Sleep>>,
}

impl UntilExpiry {
    fn new(body: ResponseBody, left: Duration) -> Self {
        Self { body, end: Box::pin(tokio::time::sleep(left)) }
    }
}

impl Body for UntilExpiry {
    type Data = Bytes;
    type Error = ResponseTimeout;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseTimeout>>> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn bearer(request: &Request<Incoming>, token: Option<&str>) -> Option<Identity> {
    let given = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let given = given.strip_prefix("Bearer ")?.trim();
    same(given.as_bytes(), token?.as_bytes()).then(Identity::of_token)
}
