//! Handling of Ctrl-C and termination signals.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CommandError, Doing as _};

/// Receives requests of the user or the system to end this process.
pub(crate) struct Interrupt {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Interrupt {
    /// Starts listening. From now on, these signals no longer end the process.
    pub(crate) fn listen() -> Result<Self, CommandError> {
        let listen = |kind| signal(kind).doing("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next request to end.
    ///
    /// # Cancellation
    ///
    /// Cancel safe: a later request is delivered to the next call.
    pub(crate) async fn wait(&mut self) {
        self.wait_kind().await;
    }

    /// Like [`Interrupt::wait`], and returns which signal arrived.
    ///
    /// # Cancellation
    ///
    /// Like [`Interrupt::wait`].
    pub(crate) async fn wait_kind(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}
