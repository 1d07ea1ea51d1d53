//! Response bodies that hold a reservation for a limited time.

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

use crate::{flow_control::Reservation, service::ResponseBody};

/// The client did not read the response in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client did not read the response in time")]
pub struct ResponseTimeout;

/// Body and reservation, dropped once the response is complete or has timed out.
type Content = Arc<Mutex<Option<(ResponseBody, Reservation)>>>;

struct ReservedBody {
    content: Content,
    _timer: Option<AbortOnDropHandle<()>>,
}

/// Attaches a reservation to a response. After `limit` the response is dropped, even if its
/// connection does not poll it.
pub(super) fn attach_reservation(
    response: Response<ResponseBody>,
    taken: Reservation,
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
        UnsyncBoxBody::new(ReservedBody { content, _timer: timer })
    })
}

fn lock(content: &Content) -> MutexGuard<'_, Option<(ResponseBody, Reservation)>> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body for ReservedBody {
    type Data = Bytes;
    type Error = ResponseTimeout;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseTimeout>>> {
        let mut content = lock(&self.content);
        let Some((body, _)) = &mut *content else {
            return Poll::Ready(Some(Err(ResponseTimeout)));
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
        flow_control::{FlowControl, RequestKind},
        handlers::response,
        identity::Identity,
    };

    #[tokio::test(start_paused = true)]
    async fn unread_responses_time_out() {
        let answer = || response::raw(http::StatusCode::OK, "text/plain", Bytes::from_static(b"x"));
        let limits = crate::Limits { requests_per_user: 1, ..crate::Limits::default() };
        let flow_control = FlowControl::new(limits);
        let enter =
            || flow_control.admit(&Identity::named("jane", Vec::new()), RequestKind::Request);
        let taken = enter().unwrap().into_reservation();
        let held = attach_reservation(answer(), taken, Some(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_secs(59)).await;
        enter().unwrap_err();
        tokio::time::sleep(Duration::from_secs(2)).await;
        enter().unwrap();
        held.into_body().collect().await.unwrap_err();
        let held =
            attach_reservation(answer(), Reservation::default(), Some(Duration::from_secs(60)));
        assert_eq!(held.into_body().collect().await.unwrap().to_bytes(), "x");
    }
}
