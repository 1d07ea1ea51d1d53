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
    flow_control::FlowControl,
    handlers::{self, Call, ResponseTimeout, UnreadBody},
    identity::Identity,
    plane::TaskGuard,
};

/// Body of a response: complete, or a stream of watch events.
pub type ResponseBody = UnsyncBoxBody<Bytes, ResponseTimeout>;

/// Answers Kubernetes API requests of one caller. Clones are cheap.
///
/// It keeps the plane open: the background work continues while a service, or a client made from
/// it, exists.
#[derive(Clone, Debug)]
pub struct PlaneService {
    pub(crate) api: Arc<Api>,
    /// Cancelled to end watches.
    pub(crate) shutdown: CancellationToken,
    /// Identity of requests that have none of their own.
    pub(crate) caller: Identity,
    /// Limits of callers; `None` for no limits.
    pub(crate) flow_control: Option<Arc<FlowControl>>,
    pub(crate) _guard: Arc<TaskGuard>,
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
        let Self { api, shutdown, caller, flow_control, .. } = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let identity = parts.extensions.remove::<Identity>().unwrap_or(caller);
            let call = Call { identity, flow_control, parts, body: UnreadBody::new(body) };
            // A panic fails its own request only.
            let answer = AssertUnwindSafe(handlers::serve(&api, &shutdown, call)).catch_unwind();
            Ok(answer.await.unwrap_or_else(|_| handlers::failed(&handlers::panicked())))
        })
    }
}
