//! Control of a running command: signals and exit status.

use std::fmt;
use std::time::Duration;

use futures::SinkExt;
use incus_api::ExecControl;
use tokio_tungstenite::tungstenite::Message;

use super::TerminalSize;
use crate::error::{Call, Error, Result};
use crate::operations::Operation;
use crate::websocket::Socket;

/// The control connection of a running command. Dropping it kills the command.
#[derive(Debug)]
pub struct ExecControlHandle {
    signals: ExecSignals,
    end: ExecEnd,
}

/// Signals to a running command. Dropping it kills the command.
pub struct ExecSignals {
    operation: String,
    socket: Socket,
}

/// Handle that waits for the end of a running command.
#[derive(Debug)]
pub struct ExecEnd {
    instance: String,
    program: String,
    operation: Operation,
}

/// Result of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecEnded {
    /// As [`ExecOutput::exit_code`](super::ExecOutput::exit_code).
    pub exit_code: i32,
    /// Why the server could not run it (program not found, not executable); otherwise empty.
    pub error: String,
}

impl ExecControlHandle {
    pub(crate) fn new(
        instance: String,
        program: String,
        operation: Operation,
        socket: Socket,
    ) -> Self {
        let signals = ExecSignals { operation: operation.id().to_owned(), socket };
        Self { signals, end: ExecEnd { instance, program, operation } }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.end.instance
    }

    pub(crate) fn program(&self) -> &str {
        &self.end.program
    }

    /// As [`ExecSignals::signal`].
    ///
    /// # Errors
    /// As [`ExecSignals::signal`].
    pub async fn signal(&mut self, signal: i32) -> Result<()> {
        self.signals.signal(signal).await
    }

    /// Splits the handle, to send signals while waiting for the end.
    #[must_use]
    pub fn split(self) -> (ExecSignals, ExecEnd) {
        (self.signals, self.end)
    }

    /// Waits for the command to end and returns its exit code: 127 if the program was not found,
    /// 126 if it is not executable, 128 + n if signal n killed it.
    ///
    /// Dropping the future kills the command.
    ///
    /// # Errors
    /// [`Error::ExecDeadline`] when it did not finish in time; it is then killed.
    pub async fn wait(self, deadline: Duration) -> Result<i32> {
        Ok(self.ended(deadline).await?.exit_code)
    }

    // The future borrows only the operation: the socket is not `Sync`, and the future must be
    // `Send`.
    pub(crate) fn ended(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Result<ExecEnded>> + Send + use<'_> {
        ended(&self.end.operation, &self.end.instance, &self.end.program, deadline)
    }
}

impl fmt::Debug for ExecSignals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSignals").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl ExecSignals {
    /// Sends a signal, by its Linux number, to the command but not to its children.
    ///
    /// # Errors
    /// [`Error::WebSocket`] when the connection is broken; the server then kills the command.
    pub async fn signal(&mut self, signal: i32) -> Result<()> {
        self.send(&ExecControl::Signal { signal }).await
    }

    /// Sets the size of the command's terminal.
    ///
    /// # Errors
    /// As [`ExecSignals::signal`].
    pub async fn resize(&mut self, size: TerminalSize) -> Result<()> {
        let TerminalSize { columns, rows } = size;
        let args = [("width", columns), ("height", rows)];
        let args = args.map(|(name, cells)| (name.to_owned(), cells.to_string())).into();
        self.send(&ExecControl::WindowResize { args }).await
    }

    async fn send(&mut self, control: &ExecControl) -> Result<()> {
        let call = Call::new("GET", format!("/1.0/operations/{}/websocket", self.operation));
        let text = serde_json::to_string(control)
            .map_err(|source| Error::BuildRequest { call: call.clone(), source: source.into() })?;
        self.socket
            .send(Message::Text(text.into()))
            .await
            .map_err(|source| Error::WebSocket { call, source: Box::new(source) })
    }
}

impl ExecEnd {
    /// Waits for the command to end.
    ///
    /// # Errors
    /// [`Error::ExecDeadline`] when it did not finish in time.
    ///
    /// # Cancellation
    /// Safe: the command continues.
    pub async fn wait(&self, deadline: Duration) -> Result<ExecEnded> {
        ended(&self.operation, &self.instance, &self.program, deadline).await
    }
}

/// Waits for the operation of a command to finish.
pub(crate) async fn ended(
    operation: &Operation,
    instance: &str,
    program: &str,
    deadline: Duration,
) -> Result<ExecEnded> {
    let mut code = None;
    let result = operation
        .wait_with(deadline, |operation| {
            code = operation.metadata.get("return").and_then(serde_json::Value::as_i64);
        })
        .await;
    let exit_code = code.and_then(|code| i32::try_from(code).ok()).filter(|code| *code >= 0);
    let (instance, command) = (instance.to_owned(), program.to_owned());
    match (result, exit_code) {
        (Ok(_), Some(exit_code)) => Ok(ExecEnded { exit_code, error: String::new() }),
        (Ok(_), None) => Err(Error::ExecNoExitCode { instance, command }),
        (Err(Error::OperationFailed { message, .. }), Some(exit_code)) => {
            Ok(ExecEnded { exit_code, error: message })
        }
        (Err(Error::OperationDeadline { after, .. }), _) => {
            Err(Error::ExecDeadline { instance, command, after })
        }
        (Err(error), _) => Err(error),
    }
}
