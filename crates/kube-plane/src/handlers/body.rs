//! Request bodies, which are read only after the sender is authorized.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{FutureExt as _, future::BoxFuture};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;
use tower::BoxError;

use crate::{
    flow_control::{Admitted, Reservation},
    status::{ApiError, Result},
    store::limits::MAX_BODY,
};

/// Collects a body in one buffer. It may arrive one byte at a time, and each chunk has a large
/// overhead.
async fn whole<B>(body: B) -> Result<Bytes>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(Limited::new(body, MAX_BODY));
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame {
            // Ignore trailers.
            Ok(frame) => {
                if let Ok(piece) = frame.into_data() {
                    whole.put(piece);
                }
            }
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(ApiError::too_large(MAX_BODY));
            }
            Err(error) => {
                let message = format!("cannot read the body of the request: {error}");
                return Err(ApiError::bad_request(message));
            }
        }
    }
    Ok(whole.freeze())
}

/// A body that has not been read yet.
pub(crate) struct UnreadBody {
    length: Option<u64>,
    read: BoxFuture<'static, Result<Bytes>>,
}

impl UnreadBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let length = body.size_hint().exact();
        // A future does nothing until it is awaited.
        Self { length, read: whole(body).boxed() }
    }

    /// Reads the body once there is memory for it. The memory is reserved until the second value is
    /// dropped.
    pub(super) async fn read(self, pass: Option<&Admitted>) -> Result<(Bytes, Reservation)> {
        let length = self.length.map_or(MAX_BODY, |l| usize::try_from(l).unwrap_or(usize::MAX));
        if length > MAX_BODY {
            return Err(ApiError::too_large(MAX_BODY));
        }
        let Some(pass) = pass else { return Ok((self.read.await?, Reservation::default())) };
        let room = pass.bytes(length).await?;
        let body = timeout(pass.limits.body, self.read);
        Ok((body.await.map_err(|_| ApiError::slow_body())??, room))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// A body of `count` pieces of one byte each.
    fn pieces(count: usize) -> impl Body<Data = Bytes, Error = Infallible> {
        let piece = || Ok(Frame::data(Bytes::from_static(b"a")));
        StreamBody::new(stream::iter(std::iter::repeat_with(piece).take(count)))
    }

    #[tokio::test]
    async fn slow_bodies_are_joined_and_size_limited() {
        assert_eq!(whole(pieces(100_000)).await.unwrap().len(), 100_000);
        assert_eq!(whole(pieces(MAX_BODY)).await.unwrap().len(), MAX_BODY);
        let error = whole(pieces(MAX_BODY + 1)).await.unwrap_err();
        assert_eq!(error.code(), http::StatusCode::PAYLOAD_TOO_LARGE);
    }
}
