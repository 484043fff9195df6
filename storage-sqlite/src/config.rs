//! How a file is opened.

use std::path::PathBuf;
use std::time::Duration;

use storage_kit::ThreadOptions;
use sync_core::model::WriteLimits;

/// Sorting a small index costs less than building it.
pub(crate) const LOAD_FROM: u64 = 20_000;

/// How a file is opened, and the bounds within which it is used.
///
/// ```
/// use std::time::Duration;
/// use storage_sqlite::SqliteConfig;
/// let mut config = SqliteConfig::new("app.db");
/// config.readers = 1;
/// config.busy_timeout = Duration::from_secs(1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The file. It is made if it is missing or empty; its folder must be there. SQLite keeps
    /// `<file>-wal` and `<file>-shm` beside it while it is open, and a replica `<file>-lease` for
    /// good.
    pub path: PathBuf,
    /// The VFS of SQLite by which the file is opened, by its name; it must be registered. None for
    /// SQLite's own, which is what apps want: a VFS is for tests with a file system of their own.
    /// With one, nothing but SQLite looks at the path: a file that is not ours is found by what it
    /// holds, after SQLite has opened it, and no lock of the operating system keeps a second
    /// process from running the engine. None by default.
    pub vfs: Option<String>,
    /// How writes that are acknowledged as durable reach the disk. [`Synchronous::Full`] by
    /// default.
    pub synchronous: Synchronous,
    /// Threads that read, 1 to 4 (others are taken as the nearest of these). 2 by default.
    pub readers: usize,
    /// The most memory for pages, per connection (one that writes, and the readers), in KiB. 8,192
    /// by default.
    pub cache_kib: u32,
    /// How long a transaction waits for another process that writes to the same file. 5 s by
    /// default.
    pub busy_timeout: Duration,
    /// The most pages of 4 KiB that the file may grow to; none for no bound but the disk. What does
    /// not fit fails as if the disk were full. None by default.
    pub max_page_count: Option<u32>,
    /// After how many pages of 4 KiB in the write-ahead log they are moved into the file, as soon
    /// as nothing waits to be written; at twice as many it is done before the next write. A larger
    /// log makes bulk writes cheaper, and costs as much room on the disk; 0 leaves it to grow until
    /// the file is closed. 4,000 (16 MiB) by default.
    pub checkpoint_pages: u32,
    /// From how many documents on the first pull of an empty replica is loaded: they are written
    /// without the index by which one is found, which is built in the end. Until then a document is
    /// found by looking at all; the first read that does ends the load. Such an end takes about a
    /// second for a million documents. 20,000 by default.
    pub load_from: u64,
    /// What one local write may hold. A server has no use for it.
    pub write_limits: WriteLimits,
    /// The bounds of the threads.
    pub threads: ThreadOptions,
}

impl SqliteConfig {
    /// That file, and the defaults for everything else.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            vfs: None,
            synchronous: Synchronous::Full,
            readers: 2,
            cache_kib: 8_192,
            busy_timeout: Duration::from_secs(5),
            max_page_count: None,
            checkpoint_pages: 4_000,
            load_from: LOAD_FROM,
            write_limits: WriteLimits::default(),
            threads: ThreadOptions::default(),
        }
    }

    pub(crate) fn reader_count(&self) -> usize {
        self.readers.clamp(1, 4)
    }
}

/// How a commit that is acknowledged as durable reaches the disk: SQLite's `synchronous`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Synchronous {
    /// It is not waited for: a power failure may take back the newest commits, also acknowledged
    /// ones. The file stays sound. For tests, and for data that can be had again.
    Normal,
    /// Every commit is synced before it is acknowledged.
    #[default]
    Full,
    /// As `Full`, and the folder is synced too whenever a journal is removed.
    Extra,
}

impl Synchronous {
    /// The number that SQLite knows it by.
    pub(crate) fn level(self) -> i64 {
        match self {
            Self::Normal => 1,
            Self::Full => 2,
            Self::Extra => 3,
        }
    }
}
