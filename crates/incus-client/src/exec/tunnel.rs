//! Standard input and output of a command as one bidirectional stream.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

use super::{ExecControlHandle, ExecInput, ExecReader, ExecRequest, ExecStream};
use crate::client::Client;
use crate::error::Result;

/// A bidirectional stream through a command such as `socat - UNIX-CONNECT:/run/x.sock`: writes go
/// to its standard input, reads come from its standard output. Dropping it kills the command.
#[derive(Debug)]
pub struct Tunnel {
    stdin: ExecInput,
    stdout: ExecReader,
    // Kept alive only: dropping it ends the command.
    _control: ExecControlHandle,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    _drain: AbortOnDropHandle<()>,
}

/// Size of the error output that is kept to explain a failure, in bytes.
const TAIL: usize = 4 << 10;

impl Client {
    /// Starts a command and returns its standard input and output as one stream. Ignores
    /// `request.stdin` and `request.deadline`.
    ///
    /// # Errors
    /// As [`Client::exec_stream`]. When the command fails, the stream ends and
    /// [`Tunnel::stderr_tail`] says why.
    pub async fn tunnel(&self, instance: &str, request: &ExecRequest) -> Result<Tunnel> {
        let ExecStream { stdin, stdout, stderr, control } =
            self.exec_stream(instance, request).await?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let drain = tokio::spawn(keep_tail(stderr, Arc::clone(&tail)));
        Ok(Tunnel {
            stdin,
            stdout,
            _control: control,
            stderr: tail,
            _drain: AbortOnDropHandle::new(drain),
        })
    }
}

async fn keep_tail(mut stderr: ExecReader, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = [0; 1 << 10];
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..n]);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }
}

impl Tunnel {
    /// Returns the last part of the command's error output.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        let tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}
