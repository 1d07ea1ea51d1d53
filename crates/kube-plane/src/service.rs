//! The plane as a `tower::Service`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use crate::{
    api::Api, handlers, identity::Identity, plane::Guard, status::ApiError, store::gate::MAX_BODY,
};

/// Body of an answer: whole, or a stream of watch events.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

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
        let api = Arc::clone(&self.api);
        let shutdown = self.shutdown.clone();
        let caller = self.caller.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let caller = parts.extensions.remove::<Identity>().unwrap_or(caller);
            let body = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<LengthLimitError>() => {
                    return Ok(handlers::failed(&ApiError::too_large(MAX_BODY)));
                }
                Err(error) => {
                    let message = format!("cannot read the body of the request: {error}");
                    return Ok(handlers::failed(&ApiError::bad_request(message)));
                }
            };
            Ok(handlers::serve(&api, &shutdown, caller, parts, body).await)
        })
    }
}
