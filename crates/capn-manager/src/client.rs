//! A client of the API server that sends so many requests a second.

use std::{
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::Request;
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use tower::{Layer, Service};

/// How many requests a second a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, on average.
    pub qps: NonZeroU32,
    /// How many may be sent at once after a pause.
    pub burst: NonZeroU32,
}

/// A client that keeps to `rate`; `None`: as fast as the API server answers.
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

struct Limit(Arc<DefaultDirectRateLimiter>);

impl Limit {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.qps).allow_burst(rate.burst);
        Self(Arc::new(RateLimiter::direct(quota)))
    }
}

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { limit: Arc::clone(&self.0), turn: Turn::Unasked, inner }
    }
}

/// Whether the next request may be sent.
enum Turn {
    Unasked,
    Waiting(BoxFuture<'static, ()>),
    Come,
}

struct Limited<S> {
    limit: Arc<DefaultDirectRateLimiter>,
    turn: Turn,
    inner: S,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Limited<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        loop {
            match &mut self.turn {
                Turn::Unasked => {
                    let limit = Arc::clone(&self.limit);
                    self.turn = Turn::Waiting(Box::pin(async move { limit.until_ready().await }));
                }
                Turn::Waiting(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    self.turn = Turn::Come;
                }
                Turn::Come => return self.inner.poll_ready(cx),
            }
        }
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.turn = Turn::Unasked;
        self.inner.call(request)
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
