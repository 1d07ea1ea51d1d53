//! The body of a request, which is read when it is known that its sender may send it.

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;
use tower::BoxError;

use crate::{
    gate::{Pass, Taken},
    status::{ApiError, Result},
    store::gate::MAX_BODY,
};

/// A body of which nothing was read.
pub(crate) struct Unread {
    length: Option<u64>,
    read: BoxFuture<'static, Result<Bytes>>,
}

impl Unread {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let length = body.size_hint().exact();
        // A future does nothing until it is awaited.
        let read = async move {
            match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(MAX_BODY)),
                Err(error) => {
                    let message = format!("cannot read the body of the request: {error}");
                    Err(ApiError::bad_request(message))
                }
            }
        };
        Self { length, read: read.boxed() }
    }

    /// Reads it, when there is room for it. The room is taken until the second value is dropped.
    pub(super) async fn read(self, pass: Option<&Pass>) -> Result<(Bytes, Taken)> {
        let length = self.length.map_or(MAX_BODY, |l| usize::try_from(l).unwrap_or(usize::MAX));
        if length > MAX_BODY {
            return Err(ApiError::too_large(MAX_BODY));
        }
        let Some(pass) = pass else { return Ok((self.read.await?, Taken::default())) };
        let room = pass.bytes(length).await?;
        let body = timeout(pass.limits.body, self.read);
        Ok((body.await.map_err(|_| ApiError::slow_body())??, room))
    }
}
