//! The status of a driver.

use crate::clock::Now;
use crate::engine::Progress;
use crate::error::Error;

/// A snapshot of a running driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverStatus {
    /// The progress of the engine.
    pub progress: Progress,
    /// The last failure, unless everything is in sync since.
    pub last_error: Option<Error>,
    /// How many attempts failed in a row since the last progress or call of
    /// [`Driver::run`](super::Driver::run): to connect, or to push or pull on a connection that
    /// works.
    pub failures: u32,
    /// Changes that the server gave a verdict on since the driver began.
    pub pushed: u64,
    /// Conflicts that were met since the driver began.
    pub conflicts: u64,
    /// How often [`Driver::run`](super::Driver::run) was called.
    pub runs: u64,
    /// When everything was in sync last, by this machine's clock.
    pub last_sync: Option<Now>,
}
