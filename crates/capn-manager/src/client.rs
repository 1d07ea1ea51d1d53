//! A client of the API server that sends so many requests a second.

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

use crate::turns::{self, Turns};

/// How many requests a second a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, on average.
    pub qps: NonZeroU32,
    /// How many may be sent at once after a pause.
    pub burst: NonZeroU32,
}

/// A client that keeps to `rate`, with namespaces taking turns; `None`: as fast as the API server answers.
/// It has to be made within a tokio runtime.
///
/// # Errors
///
/// Credentials or certificates in `config` that cannot be used.
pub fn client(config: kube::Config, rate: Option<Rate>) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(match rate {
        Some(rate) => builder.with_layer(&Limit::new(rate)).build(),
        None => builder.build(),
    })
}

/// Turns, and the task that gives them at the rate.
#[derive(Clone)]
struct Limit {
    turns: Arc<Turns>,
    _giver: Arc<AbortOnDropHandle<()>>,
}

impl Limit {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.qps).allow_burst(rate.burst);
        let (turns, limit) = (Arc::new(Turns::default()), Arc::new(RateLimiter::direct(quota)));
        let giver = Arc::clone(&turns).give_all(move || {
            let limit = Arc::clone(&limit);
            async move { limit.until_ready().await }
        });
        Self { turns, _giver: Arc::new(AbortOnDropHandle::new(tokio::spawn(giver))) }
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
        // Each request waits for itself, or one namespace would hold up the others here.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (limit, inner) = (self.limit.clone(), Arc::clone(&self.inner));
        Box::pin(async move {
            limit.turns.wait(turns::namespace(request.uri().path())).await;
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
        // Five of eight wait 20 ms each; a busy machine only makes it longer.
        assert!(start.elapsed() >= Duration::from_millis(95), "{:?}", start.elapsed());
    }
}
