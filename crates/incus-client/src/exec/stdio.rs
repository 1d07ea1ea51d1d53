//! Streams of a command as byte streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use crate::websocket::Socket;

/// Reader for the output of a command. Ends when the stream of the command ends; a broken
/// connection is an error ([`io::ErrorKind::UnexpectedEof`]).
pub struct ExecReader {
    socket: Socket,
    rest: Bytes,
    ended: bool,
}

/// Writer for the input of a command. Shutting it down sends end of file.
pub struct ExecInput {
    socket: Socket,
    barrier: Barrier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barrier {
    NotYet,
    Queued,
    Sent,
}

/// The servers read and write in chunks of 32 to 128 KiB.
const CHUNK: usize = 64 << 10;

impl fmt::Debug for ExecReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecReader").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl fmt::Debug for ExecInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecInput").field("end", &self.barrier).finish_non_exhaustive()
    }
}

impl ExecReader {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, rest: Bytes::new(), ended: false }
    }
}

impl AsyncRead for ExecReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, rest, ended } = &mut *self;
        poll_output(socket, rest, ended, cx, buf)
    }
}

/// Reads output of a command from a socket.
pub(super) fn poll_output(
    socket: &mut Socket,
    rest: &mut Bytes,
    ended: &mut bool,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        if !rest.is_empty() {
            let n = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..n]);
            rest.advance(n);
            return Poll::Ready(Ok(()));
        }
        if *ended {
            return Poll::Ready(Ok(()));
        }
        match ready!(Pin::new(&mut *socket).poll_next(cx)) {
            Some(Ok(Message::Binary(bytes))) => *rest = bytes,
            Some(Ok(Message::Text(_) | Message::Close(_))) => *ended = true,
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
            None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Writes input of a command to a socket.
pub(super) fn poll_input(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    ready!(Pin::new(&mut *socket).poll_ready(cx)).map_err(to_io)?;
    let chunk = &buf[..buf.len().min(CHUNK)];
    let message = Message::Binary(Bytes::copy_from_slice(chunk));
    Pin::new(socket).start_send(message).map_err(to_io)?;
    Poll::Ready(Ok(chunk.len()))
}

impl ExecInput {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, barrier: Barrier::NotYet }
    }

    /// Answers pings, and detects when the command no longer reads.
    fn poll_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(Message::Close(_))) | None) => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Err(to_io(error)),
            }
        }
    }
}

impl AsyncWrite for ExecInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.barrier != Barrier::NotYet {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.poll_alive(cx)?;
        poll_input(&mut self.socket, cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.barrier == Barrier::NotYet {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(to_io)?;
            let end = Message::Text(Utf8Bytes::from_static(""));
            Pin::new(&mut self.socket).start_send(end).map_err(to_io)?;
            self.barrier = Barrier::Queued;
        }
        if self.barrier == Barrier::Queued {
            ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(to_io)?;
            self.barrier = Barrier::Sent;
        }
        Poll::Ready(Ok(()))
    }
}

pub(super) fn to_io(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        WsError::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::other(other),
    }
}
