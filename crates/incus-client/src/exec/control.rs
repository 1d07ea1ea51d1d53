//! Signals to a command, and how it ended.

use std::fmt;
use std::time::Duration;

use futures::SinkExt;
use incus_api::ExecControl;
use tokio_tungstenite::tungstenite::Message;

use crate::error::{Call, Error, Result};
use crate::operations::Operation;
use crate::websocket::Socket;

/// The control connection of a running command. Dropping it kills the command.
pub struct ExecControlHandle {
    instance: String,
    program: String,
    operation: Operation,
    socket: Socket,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) exit_code: i32,
    /// Why the server could not run it (program not found, not executable).
    pub(crate) error: String,
}

impl fmt::Debug for ExecControlHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecControlHandle")
            .field("instance", &self.instance)
            .field("program", &self.program)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

impl ExecControlHandle {
    pub(crate) fn new(
        instance: String,
        program: String,
        operation: Operation,
        socket: Socket,
    ) -> Self {
        Self { instance, program, operation, socket }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Sends a signal, by its Linux number, to the command (not to its children).
    ///
    /// # Errors
    /// When the connection is broken; the command is then being killed.
    pub async fn signal(&mut self, signal: i32) -> Result<()> {
        let path = format!("/1.0/operations/{}/websocket", self.operation.id());
        let call = Call::new("GET", path);
        let text = serde_json::to_string(&ExecControl::Signal { signal })
            .map_err(|source| Error::BuildRequest { call: call.clone(), source: source.into() })?;
        self.socket
            .send(Message::Text(text.into()))
            .await
            .map_err(|source| Error::WebSocket { call, source: Box::new(source) })
    }

    /// Waits for the command to end and gives its exit code; 127 is a program that is not there,
    /// 126 one that cannot be executed, 128 + n a command killed by signal n.
    ///
    /// Dropping the future kills the command.
    ///
    /// # Errors
    /// [`Error::ExecDeadline`] when it did not end in time; it is killed then.
    pub async fn wait(self, deadline: Duration) -> Result<i32> {
        Ok(self.ended(deadline).await?.exit_code)
    }

    // The future borrows the operation only: the socket is not `Sync`, and the future has to be
    // `Send`.
    pub(crate) fn ended(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Result<Ended>> + Send + use<'_> {
        ended(&self.operation, &self.instance, &self.program, deadline)
    }
}

/// Waits until the command of an operation ended.
pub(crate) async fn ended(
    operation: &Operation,
    instance: &str,
    program: &str,
    deadline: Duration,
) -> Result<Ended> {
    let mut code = None;
    let result = operation
        .wait_with(deadline, |operation| {
            code = operation.metadata.get("return").and_then(serde_json::Value::as_i64);
        })
        .await;
    let exit_code = code.and_then(|code| i32::try_from(code).ok()).filter(|code| *code >= 0);
    let (instance, command) = (instance.to_owned(), program.to_owned());
    match (result, exit_code) {
        (Ok(_), Some(exit_code)) => Ok(Ended { exit_code, error: String::new() }),
        (Ok(_), None) => Err(Error::ExecNoExitCode { instance, command }),
        (Err(Error::OperationFailed { message, .. }), Some(exit_code)) => {
            Ok(Ended { exit_code, error: message })
        }
        (Err(Error::OperationDeadline { after, .. }), _) => {
            Err(Error::ExecDeadline { instance, command, after })
        }
        (Err(error), _) => Err(error),
    }
}
