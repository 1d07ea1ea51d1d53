//! A rate-limited client of the API server.

use std::{
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use governor::{Quota, RateLimiter};
use http::Request;
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;
use tower::{Layer, Service, ServiceExt as _};

use crate::fair_queue::{self, FairQueue};

/// Rate limit of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Average number of requests per second.
    pub qps: NonZeroU32,
    /// Maximum burst after a pause.
    pub burst: NonZeroU32,
}

/// Creates a client with a rate limit, in which namespaces take turns. `None`: no limit. Must be
/// called inside a tokio runtime.
///
/// # Errors
///
/// [`kube::Error`] if the credentials or certificates in `config` are unusable.
pub fn client(config: kube::Config, rate: Option<Rate>) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(match rate {
        Some(rate) => builder.with_layer(&Limit::new(rate)).build(),
        None => builder.build(),
    })
}

/// The request queue, and the task that serves it at the configured rate.
#[derive(Clone)]
struct Limit {
    fair_queue: Arc<FairQueue>,
    _giver: Arc<AbortOnDropHandle<()>>,
}

impl Limit {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.qps).allow_burst(rate.burst);
        let (fair_queue, limit) =
            (Arc::new(FairQueue::default()), Arc::new(RateLimiter::direct(quota)));
        let giver = Arc::clone(&fair_queue).give_all(move || {
            let limit = Arc::clone(&limit);
            async move { limit.until_ready().await }
        });
        Self { fair_queue, _giver: Arc::new(AbortOnDropHandle::new(tokio::spawn(giver))) }
    }
}

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { limit: self.clone(), inner: Arc::new(Mutex::new(inner)) }
    }
}

struct Limited<S> {
    limit: Limit,
    inner: Arc<Mutex<S>>,
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>> + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Requests wait independently, or one namespace would block the others here.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (limit, inner) = (self.limit.clone(), Arc::clone(&self.inner));
        Box::pin(async move {
            limit.fair_queue.wait(fair_queue::namespace(request.uri().path())).await;
            let answer = {
                let mut inner = inner.lock().await;
                inner.ready().await?.call(request)
            };
            answer.await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http::Response;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn requests_after_the_burst_wait_for_their_turn() {
        let rate = Rate { qps: 50.try_into().unwrap(), burst: 3.try_into().unwrap() };
        let answer = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let mut limited = Limit::new(rate).layer(answer);
        let start = std::time::Instant::now();
        for _ in 0..8 {
            let request = Request::new(Body::empty());
            limited.ready().await.unwrap().call(request).await.unwrap();
        }
        // Five of eight requests wait 20 ms each; on a busy host it takes longer.
        assert!(start.elapsed() >= Duration::from_millis(95), "{:?}", start.elapsed());
    }
}
