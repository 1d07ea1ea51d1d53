//! The plane as a `tower::Service`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Full, combinators::UnsyncBoxBody};

/// Body of an answer: whole, or a stream of watch events.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// Answers Kubernetes API requests. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct PlaneService {}

impl<B> tower::Service<Request<B>> for PlaneService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        Box::pin(async {
            let mut response = Response::new(UnsyncBoxBody::new(Full::new(Bytes::new())));
            *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
            Ok(response)
        })
    }
}
