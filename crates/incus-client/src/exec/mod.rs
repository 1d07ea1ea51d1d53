//! Running commands in instances.
//!
//! The server opens one WebSocket each for stdin, stdout and stderr, and one for control. An empty
//! text message ends a stream. When the control socket breaks, the server kills the command, so a
//! dropped future or a killed process leaves no command behind.

mod control;
mod output;
mod request;
mod stdio;
mod terminal;
mod tunnel;

pub use control::{ExecControlHandle, ExecEnd, ExecEnded, ExecSignals};
pub use output::ExecOutput;
pub use request::ExecRequest;
pub use stdio::{ExecInput, ExecReader};
pub use terminal::{ExecTerminal, TerminalSize, TerminalStream};
pub use tunnel::Tunnel;

use std::time::Duration;

use incus_api::Request;

use crate::call::with_json;
use crate::client::Client;
use crate::error::{Call, Error, Result};
use crate::websocket::{Direction, Socket};

/// A running command and its streams.
///
/// Read both `stdout` and `stderr`: a command blocks when one of them is full. Shut down `stdin` to
/// send end of file. Dropping `control` kills the command.
#[derive(Debug)]
pub struct ExecStream {
    /// Standard input.
    pub stdin: ExecInput,
    /// Standard output.
    pub stdout: ExecReader,
    /// Standard error.
    pub stderr: ExecReader,
    /// Signals and the exit code.
    pub control: ExecControlHandle,
}

/// Time limit for opening the WebSockets of a command. The server gives up after ten seconds.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

impl Client {
    /// Starts a command and returns its streams. Ignores `request.stdin` and `request.deadline`.
    ///
    /// # Errors
    /// [`Error::Api`] when the instance does not exist or is not running. A missing program is exit
    /// code 127, see [`ExecControlHandle::wait`].
    pub async fn exec_stream(&self, instance: &str, request: &ExecRequest) -> Result<ExecStream> {
        let post = self.scoped(Request::post(&["instances", instance, "exec"]));
        let call = Call::new(post.method().as_str(), post.path_and_query());
        let operation = self.start(with_json(post, &request.to_post())?).await?;
        let fds = operation.snapshot().metadata.get("fds").cloned().unwrap_or_default();
        let secret = |fd: &str| {
            fds.get(fd).and_then(|v| v.as_str()).ok_or_else(|| Error::UnexpectedReply {
                call: call.clone(),
                got: "an operation without WebSockets",
                expected: "the secrets of four WebSockets",
            })
        };
        // Control first: from here on the server notices when this process is gone.
        let id = operation.id();
        let control = self.exec_socket(id, secret("control")?, Direction::Both).await?;
        let (stdin, stdout, stderr) = tokio::try_join!(
            self.exec_socket(id, secret("0")?, Direction::Both),
            self.exec_socket(id, secret("1")?, Direction::ReadOnly),
            self.exec_socket(id, secret("2")?, Direction::ReadOnly),
        )?;
        let program = request.command.first().cloned().unwrap_or_default();
        Ok(ExecStream {
            stdin: ExecInput::new(stdin),
            stdout: ExecReader::new(stdout),
            stderr: ExecReader::new(stderr),
            control: ExecControlHandle::new(instance.to_owned(), program, operation, control),
        })
    }

    pub(super) async fn exec_socket(
        &self,
        operation: &str,
        secret: &str,
        direction: Direction,
    ) -> Result<Socket> {
        let path = Request::get(&["operations", operation, "websocket"]);
        // Keep the secret out of errors and logs.
        let call = Call::new("GET", path.path());
        let path = path.query("secret", secret).path_and_query();
        self.shared.wire.websocket(&call, &path, direction, OPEN_TIMEOUT).await
    }
}
