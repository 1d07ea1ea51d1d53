//! A command on a terminal, with one stream for input and output.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Sink;
use incus_api::{ExecPost, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stdio::{poll_input, poll_output, to_io};
use super::{ExecControlHandle, ExecRequest};
use crate::call::with_json;
use crate::client::Client;
use crate::error::{Call, Error, Result};
use crate::websocket::{Direction, Socket};

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// A running command and its terminal.
#[derive(Debug)]
pub struct ExecTerminal {
    /// Input and output of the command. It ends with the command. Shutting it down has no effect,
    /// since a terminal has an end-of-file character instead.
    pub stream: TerminalStream,
    /// Signals, sizes and the exit code.
    pub control: ExecControlHandle,
}

/// Input and output of a command on a terminal.
pub struct TerminalStream {
    socket: Socket,
    rest: Bytes,
    ended: bool,
}

impl Client {
    /// Starts a command on a terminal of this size. Ignores `request.stdin` and `request.deadline`;
    /// the environment should set `TERM`.
    ///
    /// # Errors
    /// As [`Client::exec_stream`].
    pub async fn exec_terminal(
        &self,
        instance: &str,
        request: &ExecRequest,
        size: TerminalSize,
    ) -> Result<ExecTerminal> {
        let post = self.scoped(Request::post(&["instances", instance, "exec"]));
        let call = Call::new(post.method().as_str(), post.path_and_query());
        let TerminalSize { columns: width, rows: height } = size;
        let body = ExecPost { interactive: true, width, height, ..request.to_post() };
        let operation = self.start(with_json(post, &body)?).await?;
        let fds = operation.snapshot().metadata.get("fds").cloned().unwrap_or_default();
        let secret = |fd: &str| {
            fds.get(fd).and_then(|v| v.as_str()).ok_or_else(|| Error::UnexpectedReply {
                call: call.clone(),
                got: "an operation without WebSockets",
                expected: "the secrets of two WebSockets",
            })
        };
        let id = operation.id();
        let control = self.exec_socket(id, secret("control")?, Direction::Both).await?;
        let socket = self.exec_socket(id, secret("0")?, Direction::Both).await?;
        let program = request.command.first().cloned().unwrap_or_default();
        Ok(ExecTerminal {
            stream: TerminalStream { socket, rest: Bytes::new(), ended: false },
            control: ExecControlHandle::new(instance.to_owned(), program, operation, control),
        })
    }
}

impl fmt::Debug for TerminalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl AsyncRead for TerminalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, rest, ended } = &mut *self;
        poll_output(socket, rest, ended, cx, buf)
    }
}

impl AsyncWrite for TerminalStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        poll_input(&mut self.socket, cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
