//! Opening a WebSocket: an ordinary request through the same connector, then an upgrade.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::bounds;
use crate::call::Wire;
use crate::error::{Call, Error, Result};
use crate::observer::RequestOutcome;

pub(crate) type Socket = WebSocketStream<Half>;

/// Direction of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Both directions.
    Both,
    /// Read only. Nothing is written, not even replies to pings: the servers never read from these
    /// sockets, and a TCP connection that is closed with unread bytes is reset, which can destroy
    /// output that is still in transit.
    ReadOnly,
}

/// The connection below a WebSocket.
pub(crate) struct Half {
    io: TokioIo<Upgraded>,
    direction: Direction,
}

impl AsyncRead for Half {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Half {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.direction {
            Direction::Both => Pin::new(&mut self.io).poll_write(cx, buf),
            Direction::ReadOnly => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.direction {
            Direction::Both => Pin::new(&mut self.io).poll_flush(cx),
            Direction::ReadOnly => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Wire {
    /// Opens a WebSocket at `path_and_query`; `call` names it in errors.
    pub(crate) async fn websocket(
        &self,
        call: &Call,
        path_and_query: &str,
        direction: Direction,
        timeout: Duration,
    ) -> Result<Socket> {
        let started = Instant::now();
        let opening = self.open(call, path_and_query, direction);
        let result = match tokio::time::timeout(timeout, opening).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { call: call.clone(), after: timeout }),
        };
        let outcome = match &result {
            Ok(_) => RequestOutcome::Status(101),
            Err(error) => RequestOutcome::of(error),
        };
        self.observer.request(call, outcome, started);
        result
    }

    async fn open(
        &self,
        call: &Call,
        path_and_query: &str,
        direction: Direction,
    ) -> Result<Socket> {
        let key = generate_key();
        let request = http::Request::get(self.uri(call, path_and_query)?)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .body(Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync())
            .map_err(|source| Error::BuildRequest { call: call.clone(), source: source.into() })?;
        let response =
            self.http.request(request).await.map_err(|source| self.failed(call, source))?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.not_upgraded(call, response).await);
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|v| v.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            let reason = "its Sec-WebSocket-Accept header does not match the key".to_owned();
            return Err(Error::Upgrade { call: call.clone(), reason });
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| Error::Upgrade { call: call.clone(), reason: source.to_string() })?;
        let half = Half { io: TokioIo::new(upgraded), direction };
        let bounded = WebSocketConfig::default()
            .max_message_size(Some(bounds::MESSAGE))
            .max_frame_size(Some(bounds::MESSAGE));
        Ok(WebSocketStream::from_raw_socket(half, Role::Client, Some(bounded)).await)
    }

    async fn not_upgraded(
        &self,
        call: &Call,
        response: http::Response<hyper::body::Incoming>,
    ) -> Error {
        let status = response.status();
        if status.is_success() {
            let reason = format!("it returned status {status}");
            return Error::Upgrade { call: call.clone(), reason };
        }
        self.refused(call.clone(), status.as_u16(), response.into_body()).await
    }
}
