//! Running a command to completion.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use incus_api::Request;

use super::control::ended;
use super::{ExecInput, ExecReader, ExecRequest, ExecStream};
use crate::call::with_json;
use crate::client::Client;
use crate::error::{Error, Result};

/// Output and exit code of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code: 0 on success, 127 if the program was not found, 126 if it is not executable, 128
    /// + n if signal n killed it.
    pub exit_code: i32,
    /// Standard output, up to the limit of the request.
    pub stdout: Bytes,
    /// Standard error, up to the limit of the request. If the server could not run the command, the
    /// message of the server.
    pub stderr: Bytes,
}

impl ExecOutput {
    /// Returns whether the exit code is 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.exit_code == 0
    }

    /// Returns the output as text.
    #[must_use]
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Returns the last non-empty lines, at most `most`, separated by semicolons: those of standard
    /// error, then those of standard output.
    #[must_use]
    pub fn last_lines(&self, most: usize) -> String {
        let text = [self.stderr.as_ref(), self.stdout.as_ref()].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(most)..].join("; ")
    }

    /// Returns the error output as text.
    #[must_use]
    pub fn stderr_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

impl Client {
    /// Runs a command to completion without its output, and returns its exit code as in
    /// [`ExecOutput::exit_code`]. Takes one request and no WebSocket. Ignores `request.stdin`: the
    /// command reads nothing.
    ///
    /// # Caveats
    /// Nothing kills the command when the deadline passes or the future is dropped: it must end by
    /// itself.
    ///
    /// # Errors
    /// * [`Error::Api`] when the instance does not exist or is not running.
    /// * [`Error::ExecDeadline`] when it did not finish in time.
    pub async fn exec_code(&self, instance: &str, request: &ExecRequest) -> Result<i32> {
        let mut post = request.to_post();
        post.wait_for_websocket = false;
        let call = self.scoped(Request::post(&["instances", instance, "exec"]));
        let operation = self.start(with_json(call, &post)?).await?;
        let program = request.command.first().cloned().unwrap_or_default();
        Ok(ended(&operation, instance, &program, request.deadline).await?.exit_code)
    }

    /// Runs a command to completion. Any exit code is a result, not an error.
    ///
    /// # Guarantees
    /// The command does not outlive the call: the server kills it at the deadline and when the
    /// future is dropped, but its children only if they end with it.
    ///
    /// # Caveats
    /// A child that keeps the output open keeps the call waiting, as with `ssh`.
    ///
    /// # Errors
    /// * [`Error::Api`] when the instance does not exist or is not running.
    /// * [`Error::ExecDeadline`] when it did not finish in time.
    /// * [`Error::ExecStreams`] when the connection was lost.
    pub async fn exec(&self, instance: &str, request: ExecRequest) -> Result<ExecOutput> {
        let deadline = request.deadline;
        let running = run(self, instance, &request);
        match tokio::time::timeout(deadline, running).await {
            Ok(result) => result,
            Err(_) => Err(Error::ExecDeadline {
                instance: instance.to_owned(),
                command: request.command.into_iter().next().unwrap_or_default(),
                after: deadline,
            }),
        }
    }
}

async fn run(client: &Client, instance: &str, request: &ExecRequest) -> Result<ExecOutput> {
    let ExecStream { stdin, stdout, stderr, control } =
        client.exec_stream(instance, request).await?;
    let limit = request.output_limit_bytes;
    let ((), stdout, stderr) = tokio::join!(
        feed(stdin, request.stdin.as_ref()),
        drain(stdout, limit),
        drain(stderr, limit)
    );
    // Broken streams are explained by the end of the command, if it is known.
    const EXPLAIN: Duration = Duration::from_secs(5);
    let broken = stdout.is_err() || stderr.is_err();
    let ended = control.ended(if broken { EXPLAIN } else { request.deadline }).await;
    let (stdout, stderr) = match (stdout, stderr, ended) {
        (Ok(stdout), Ok(stderr), Ok(ended)) => (stdout, (stderr, ended)),
        // The command never ran: its streams were closed without content.
        (_, _, Ok(ended)) if !ended.error.is_empty() => (Bytes::new(), (Bytes::new(), ended)),
        (_, _, Err(error @ Error::OperationFailed { .. })) => return Err(error),
        (Err(source), _, _) | (_, Err(source), _) => {
            return Err(Error::ExecStreams {
                instance: control.instance().to_owned(),
                command: control.program().to_owned(),
                source,
            });
        }
        (_, _, Err(error)) => return Err(error),
    };
    let (mut stderr, ended) = stderr;
    if stderr.is_empty() {
        stderr = Bytes::from(ended.error);
    }
    Ok(ExecOutput { exit_code: ended.exit_code, stdout, stderr })
}

/// A command need not read all of its input, so a broken pipe is not an error.
async fn feed(mut stdin: ExecInput, input: Option<&Bytes>) {
    let fed = async {
        if let Some(input) = input {
            stdin.write_all(input).await?;
        }
        stdin.shutdown().await
    };
    if let Err(error) = fed.await {
        tracing::trace!(%error, "a command did not read all of its input");
    }
}

async fn drain(mut reader: ExecReader, limit: usize) -> io::Result<Bytes> {
    let mut kept = BytesMut::new();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let n = reader.read(&mut buffer).await?;
        if n == 0 {
            return Ok(kept.freeze());
        }
        let room = limit.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..n.min(room)]);
    }
}
