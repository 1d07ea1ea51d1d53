//! An answer that holds its sender's share until it is taken, which may not last for ever.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use tokio_util::task::AbortOnDropHandle;

use crate::{gate::Taken, service::ResponseBody};

/// The client did not take the answer in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was not taken in time")]
pub struct Untaken;

/// What is freed when the answer was taken or given up.
type Content = Arc<Mutex<Option<(ResponseBody, Taken)>>>;

struct Held {
    content: Content,
    _timer: Option<AbortOnDropHandle<()>>,
}

/// Keeps `taken` with the answer, which is given up after `limit` whether or not its connection
/// asks for more of it.
pub(super) fn hold(
    response: Response<ResponseBody>,
    taken: Taken,
    limit: Option<Duration>,
) -> Response<ResponseBody> {
    response.map(|body| {
        let content: Content = Arc::new(Mutex::new(Some((body, taken))));
        let timer = limit.map(|limit| {
            let content = Arc::clone(&content);
            AbortOnDropHandle::new(tokio::spawn(async move {
                tokio::time::sleep(limit).await;
                drop(lock(&content).take());
            }))
        });
        UnsyncBoxBody::new(Held { content, _timer: timer })
    })
}

fn lock(content: &Content) -> MutexGuard<'_, Option<(ResponseBody, Taken)>> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body for Held {
    type Data = Bytes;
    type Error = Untaken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Untaken>>> {
        let mut content = lock(&self.content);
        let Some((body, _)) = &mut *content else {
            return Poll::Ready(Some(Err(Untaken)));
        };
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.content).as_ref().is_some_and(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.content).as_ref().map(|(body, _)| body.size_hint()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::{
        gate::{Gate, Kind},
        handlers::response,
        identity::Identity,
    };

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_in_time_is_given_up() {
        let answer = || response::raw(http::StatusCode::OK, "text/plain", Bytes::from_static(b"x"));
        let limits = crate::Limits { requests_of_user: 1, ..crate::Limits::default() };
        let gate = Gate::new(limits);
        let enter = || gate.enter(&Identity::named("jane", Vec::new()), Kind::Request);
        let taken = enter().unwrap().into_taken();
        let held = hold(answer(), taken, Some(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_secs(59)).await;
        enter().unwrap_err();
        tokio::time::sleep(Duration::from_secs(2)).await;
        enter().unwrap();
        held.into_body().collect().await.unwrap_err();
        let held = hold(answer(), Taken::default(), Some(Duration::from_secs(60)));
        assert_eq!(held.into_body().collect().await.unwrap().to_bytes(), "x");
    }
}
