//! Ctrl-C and the requests to end.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CommandError, Doing as _};

/// Ready when the user or the system asks this process to end.
pub(crate) struct Interrupt {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Interrupt {
    /// Starts listening. From now on these signals no longer end the process by themselves.
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
    /// Safe: a request that comes later is still seen by the next call.
    pub(crate) async fn wait(&mut self) {
        self.wait_kind().await;
    }

    /// As [`Interrupt::wait`], with how it was asked.
    ///
    /// # Cancellation
    ///
    /// As [`Interrupt::wait`].
    pub(crate) async fn wait_kind(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}
