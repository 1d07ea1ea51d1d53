//! The plane as a `tower::Service`.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use crate::{
    api::Api,
    gate::Gate,
    handlers::{self, Call, Unread, Untaken},
    identity::Identity,
    plane::Guard,
};

/// Body of an answer: whole, or a stream of watch events.
pub type ResponseBody = UnsyncBoxBody<Bytes, Untaken>;

/// Answers Kubernetes API requests of one caller. Cloning is cheap.
///
/// It keeps the plane open: the background work goes on as long as a service or a client made
/// from it is around.
#[derive(Clone, Debug)]
pub struct PlaneService {
    pub(crate) api: Arc<Api>,
    /// Ends watches.
    pub(crate) shutdown: CancellationToken,
    /// Who asks, where a request does not bring its own identity.
    pub(crate) caller: Identity,
    /// What callers may take; `None`: as much as they like.
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) _guard: Arc<Guard>,
}

impl<B> tower::Service<Request<B>> for PlaneService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { api, shutdown, caller, gate, .. } = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let identity = parts.extensions.remove::<Identity>().unwrap_or(caller);
            let call = Call { identity, gate, parts, body: Unread::new(body) };
            // Whoever made a request fail like this is answered, and nobody else notices.
            let answer = AssertUnwindSafe(handlers::serve(&api, &shutdown, call)).catch_unwind();
            Ok(answer.await.unwrap_or_else(|_| handlers::failed(&handlers::panicked())))
        })
    }
}
