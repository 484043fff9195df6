//! Settings of a file.

use std::path::PathBuf;
use std::time::Duration;

use storage_kit::ThreadOptions;
use sync_core::model::WriteLimits;

/// Below this number, inserting into the index costs less than building it.
pub(crate) const LOAD_FROM: u64 = 20_000;

/// The settings with which a file is opened, and its bounds.
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
    /// The file. It is created if it is missing or empty; its folder must exist. SQLite keeps
    /// `<file>-wal` and `<file>-shm` beside it while it is open, and a replica `<file>-lease`
    /// permanently.
    pub path: PathBuf,
    /// The name of the SQLite VFS by which the file is opened; it must be registered. None, the
    /// default, means SQLite's own, for apps; another VFS is for tests with their own file system.
    /// With one, only SQLite reads the path: a file of another program is detected by its content,
    /// after SQLite has opened it, and no lock of the operating system prevents a second process
    /// from running the engine.
    pub vfs: Option<String>,
    /// How writes that are acknowledged as durable reach the disk. [`Synchronous::Full`] by
    /// default.
    pub synchronous: Synchronous,
    /// The number of reader threads, clamped to 1 to 4. 2 by default.
    pub readers: usize,
    /// The most memory for pages, per connection (one that writes, and the readers), in KiB. 8,192
    /// by default.
    pub cache_kib: u32,
    /// How long a transaction waits for another process that writes to the same file. 5 s by
    /// default.
    pub busy_timeout: Duration,
    /// The most pages of 4 KiB that the file may grow to; no bound but the disk with `None`, the
    /// default. A write that does not fit fails as if the disk were full.
    pub max_page_count: Option<u32>,
    /// The number of pages of 4 KiB in the write-ahead log from which on they are moved into the
    /// file, as soon as nothing waits to be written; from twice as many it is done before the next
    /// write. A larger log makes bulk writes cheaper, and costs as much space on the disk; with 0
    /// it grows until the file is closed. 4,000 (16 MiB) by default.
    pub checkpoint_pages: u32,
    /// The number of documents from which on the first pull of an empty replica is loaded: they are
    /// written without the index by which a document is found, which is built at the end. Until
    /// then a document is found by a scan; the first read that does so ends the load. Ending it
    /// takes about a second for a million documents. 20,000 by default.
    pub load_from: u64,
    /// The limits of one local write. A server does not use them.
    pub write_limits: WriteLimits,
    /// The bounds of the threads.
    pub threads: ThreadOptions,
}

impl SqliteConfig {
    /// Returns settings for that file, with the defaults for everything else.
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
    /// It is not synced: a power failure may undo the newest commits, also acknowledged ones. The
    /// file stays sound. For tests, and for data that can be restored from elsewhere.
    Normal,
    /// Every commit is synced before it is acknowledged.
    #[default]
    Full,
    /// As `Full`, and the folder is synced, too, whenever a journal is removed.
    Extra,
}

impl Synchronous {
    /// Returns SQLite's number of the level.
    pub(crate) fn level(self) -> i64 {
        match self {
            Self::Normal => 1,
            Self::Full => 2,
            Self::Extra => 3,
        }
    }
}
