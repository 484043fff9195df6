//! Settings of a folder.

use std::path::PathBuf;
use std::time::Duration;

use storage_kit::ThreadOptions;
use storage_kit::kv::KvOptions;
use sync_core::model::WriteLimits;

/// The settings with which a folder is opened, and its bounds.
///
/// ```
/// use std::time::Duration;
/// use storage_sled::SledConfig;
/// let mut config = SledConfig::new("app.sled");
/// config.cache_bytes = 16 << 20;
/// config.lock_timeout = Duration::ZERO;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SledConfig {
    /// The folder. It is created if it is missing, with its parents. Store nothing else in it.
    pub path: PathBuf,
    /// Whether a commit that must survive a power failure waits until the disk has synced it. True
    /// by default. Without it, a power failure may undo the newest commits, also acknowledged ones;
    /// a crash of the process never does. Turn it off for tests, and for data that can be restored
    /// from elsewhere.
    pub sync: bool,
    /// How much sled may keep in memory, in bytes. It is sled's own estimate: see [the measured
    /// figures](crate#when-to-choose-it-and-when-not). 64 MiB by default.
    pub cache_bytes: u64,
    /// How often sled's background thread cleans up: it moves live data out of segments of the file
    /// that are mostly stale, so that they can be reused, and syncs the file. With `None` the
    /// thread is not started, and a segment is reused only once nothing in it is live. 500 ms by
    /// default.
    pub tidy_every: Option<Duration>,
    /// How long opening waits for another holder to release the folder. One second by default.
    pub lock_timeout: Duration,
    /// The number of reader threads, clamped to 1 to 4. 2 by default.
    pub readers: usize,
    /// The limits of one local write. A server does not use them.
    pub write_limits: WriteLimits,
    /// The bounds of the threads.
    pub threads: ThreadOptions,
}

impl SledConfig {
    /// Returns settings for that folder, with the defaults for everything else.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sync: true,
            cache_bytes: 64 << 20,
            tidy_every: Some(Duration::from_millis(500)),
            lock_timeout: Duration::from_secs(1),
            readers: 2,
            write_limits: WriteLimits::default(),
            threads: ThreadOptions::default(),
        }
    }

    pub(crate) fn options(&self) -> KvOptions {
        let mut options = KvOptions::default();
        options.limits = self.write_limits;
        options.threads = self.threads;
        options.readers = self.readers.clamp(1, 4);
        options
    }
}
