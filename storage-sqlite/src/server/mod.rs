//! A server in SQLite.

mod reads;
mod sql;
mod writes;

use storage_kit::ThreadedServerStorage;
use sync_core::error::Result;

use crate::binding::another_file;
use crate::config::SqliteConfig;
use crate::core::{Core, Reading, Writing};
use crate::schema::{Kind, SERVER_ID};

/// The data of a server.
#[derive(Clone, Copy, Debug)]
pub enum Server {}

impl Kind for Server {
    const APPLICATION_ID: i32 = SERVER_ID;
    const MIGRATIONS: &'static [&'static str] = &[
        include_str!("schema_1.sql"),
        include_str!("schema_2.sql"),
        include_str!("schema_3.sql"),
        include_str!("../log_binding.sql"),
        include_str!("../log_binding_2.sql"),
    ];
    const FIRST_READ: &'static str = "SELECT 1 FROM scope WHERE 0";

    fn count_again(core: &Core<Self, Writing>) -> Result<()> {
        if sync_server::ops::has_right_sums(core)? { Ok(()) } else { Err(another_file()) }
    }
}

/// A server's storage: a thread that writes, and threads that read.
pub type SqliteServerStorage = ThreadedServerStorage<SqliteServerWriter, SqliteServerReader>;

/// The core that writes a server's file, synchronous and without threads. It may also be used
/// alone.
pub type SqliteServerWriter = Core<Server, Writing>;

/// The core that reads a server's file, one snapshot at a time.
pub type SqliteServerReader = Core<Server, Reading>;

/// Opens a server's file, creates it if it is missing or empty, and starts its threads.
///
/// This blocks while it reads, creates and migrates files, for at most the busy timeout if another
/// process blocks it: async code calls it on a thread for blocking work.
///
/// # Errors
/// `Incompatible` for a file that is not a server's, is damaged or of a newer version; it is not
/// changed. `Storage` if it cannot be read or written, or a thread cannot be started.
///
/// ```
/// use storage_sqlite::{SqliteConfig, open_server};
/// use sync_core::model::Scope;
/// use sync_server::ServerStorage;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("server.db");
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let storage = tokio::task::spawn_blocking(|| open_server(&SqliteConfig::new(path))).await??;
/// assert!(storage.find_scope(Scope::default()).await?.is_none());
/// storage.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_server(config: &SqliteConfig) -> Result<SqliteServerStorage> {
    let writer = SqliteServerWriter::open(config)?;
    let mut readers = Vec::new();
    for _ in 0..config.reader_count() {
        readers.push(SqliteServerReader::open(config)?);
    }
    ThreadedServerStorage::start(writer, readers, config.threads)
}

impl SqliteServerWriter {
    /// Opens a file for writing; one that is missing or empty is created. Blocks.
    ///
    /// # Errors
    /// As [`open_server`].
    pub fn open(config: &SqliteConfig) -> Result<Self> {
        Self::open_file(config)
    }

    /// Opens a server in memory, which is lost when this is dropped. It has no file: no other
    /// process can read it, and nothing of it survives a crash.
    ///
    /// # Errors
    /// `Storage`.
    pub fn in_memory() -> Result<Self> {
        Self::open_memory()
    }
}

impl SqliteServerReader {
    /// Opens a file for reading that a [writer](SqliteServerWriter::open) has opened before.
    /// Blocks.
    ///
    /// # Errors
    /// As [`open_server`]; also `Storage` if there is no file.
    pub fn open(config: &SqliteConfig) -> Result<Self> {
        Self::open_file(config)
    }
}
