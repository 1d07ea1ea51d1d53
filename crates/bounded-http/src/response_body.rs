//! Response bodies that are handed over piece by piece, and that count as running until the peer has
//! read them.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::slots::Running;

/// Maximum size of a chunk, in bytes: the default size of a frame in HTTP/2.
///
/// With HTTP/2, a chunk is queued whole as soon as the peer accepts one byte, so a body in one chunk
/// would be in memory for as long as the peer likes, without counting as running.
const CHUNK: usize = 16 << 10;

/// A response body that counts its request as running.
pub(crate) struct TrackedBody<B> {
    body: Pin<Box<B>>,
    /// What has not been handed over of the last chunk of `body`.
    rest: Bytes,
    /// The end is reported after the last chunk was sent, and not together with it.
    has_sent: bool,
    running: Running,
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B, running: Running) -> Self {
        // With HTTP/2, the body is not asked for anything until the peer accepts a byte.
        running.waits_for_peer();
        Self { body: Box::pin(body), rest: Bytes::new(), has_sent: false, running }
    }

    fn next_chunk(&mut self) -> Frame<Bytes> {
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK));
        self.has_sent = true;
        self.running.waits_for_peer();
        Frame::data(chunk)
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // The connection asks for more when the peer has read what it got before.
        self.running.goes_on();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_chunk())));
        }
        let frame = match self.body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.next_chunk()
            }
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        !self.has_sent && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
