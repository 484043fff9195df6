//! The signals that end the program.

use crate::failure::Failure;

/// Signals since this was created. Commands that run until a signal create it before they open a
/// file: an earlier signal ends the process, and leaves nothing behind.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches the signals from now on.
    #[cfg(unix)]
    pub(crate) fn catch() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let caught =
            |kind| signal(kind).map_err(|e| Failure::from(e).about("the signals cannot be caught"));
        let interrupt = caught(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: caught(SignalKind::terminate())? })
    }

    /// Returns when a signal to end arrives, or at once if one has arrived before.
    #[cfg(unix)]
    pub(crate) async fn asked_to_end(&mut self) -> Result<(), Failure> {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        Ok(())
    }

    #[cfg(not(unix))]
    pub(crate) fn catch() -> Result<Self, Failure> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn asked_to_end(&mut self) -> Result<(), Failure> {
        Ok(tokio::signal::ctrl_c().await?)
    }
}
