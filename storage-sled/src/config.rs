//! How a folder is opened.

use std::path::PathBuf;
use std::time::Duration;

use storage_kit::ThreadOptions;
use storage_kit::kv::KvOptions;
use sync_core::model::WriteLimits;

/// How a folder is opened, and the bounds within which it is used.
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
    /// The folder. It is made if it is missing, with those above it. Keep nothing else in it.
    pub path: PathBuf,
    /// Whether a commit that has to survive a power failure waits until the disk says that it has
    /// it. True by default. Without, a power failure may take back the newest commits, also
    /// acknowledged ones; a crash of the process never does. For tests, and for data that can be
    /// had again.
    pub sync: bool,
    /// How much sled may keep in memory, in bytes. It is sled's own estimate: see [the measured
    /// figures](crate#when-to-choose-it-and-when-not). 64 MiB by default.
    pub cache_bytes: u64,
    /// How often sled's background thread tidies: it moves what is still needed out of parts of the
    /// file that are mostly stale, so that they can be used again, and syncs the file. With none
    /// the thread is not started, and a part is used again only once nothing in it is needed any
    /// more. 500 ms by default.
    pub tidy_every: Option<Duration>,
    /// How long opening waits for another holder to release the folder. One second by default.
    pub lock_timeout: Duration,
    /// Threads that read, 1 to 4 (others are taken as the nearest of these). 2 by default.
    pub readers: usize,
    /// What one local write may hold. A server has no use for it.
    pub write_limits: WriteLimits,
    /// The bounds of the threads.
    pub threads: ThreadOptions,
}

impl SledConfig {
    /// That folder, and the defaults for everything else.
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
