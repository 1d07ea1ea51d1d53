//! HTTPS server with authentication of clients.

use std::{convert::Infallible, future::Future, sync::Arc};

use bounded_http::Peer;
use http::{Request, Response, header};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::Service;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    Error, PlaneService, ServerTls, handlers, identity::Identity, service::ResponseBody,
    status::ApiError, tokens::same,
};

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
}

impl Client {
    fn new(service: PlaneService, token: Option<Arc<str>>, peer: Peer) -> Self {
        let identity = peer.certificate.as_ref().and_then(|certificate| identify(certificate));
        let identity = identity.map(|identity| {
            let placed = peer.identify(&identity.user, identity.is_master());
            (identity, placed)
        });
        Self { service, token, peer, identity }
    }

    async fn answer(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let Self { mut service, token, peer, identity } = self;
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
        service.call(request).await
    }
}

fn is_public(path: &str) -> bool {
    let first = path.trim_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz" | "version")
}

/// As in certificates of kubeadm, user and groups are in the subject.
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
