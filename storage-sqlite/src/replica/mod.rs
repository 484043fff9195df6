//! A replica in SQLite.

#[cfg(test)]
mod choosing;
mod load;
#[cfg(test)]
mod older;
mod reads;
mod sql;
mod writes;

use std::sync::Arc;

use storage_kit::{Durability, ThreadedStorage, Transactional};
use sync_core::error::Result;
use sync_core::model::ReplicaId;
use sync_core::replica::ops;

use crate::commit_watcher::Watch;
use crate::config::SqliteConfig;
use crate::core::{Core, Reading, Writing};
use crate::schema::Replica;

pub(crate) use load::IS_LOADING;

/// A replica's storage: a thread that writes, threads that read, and one that detects the commits
/// of other processes.
pub type SqliteStorage = ThreadedStorage<SqliteReplicaWriter, SqliteReplicaReader>;

/// The core that writes a replica, synchronous and without threads. It may also be used alone:
///
/// ```
/// use storage_sqlite::SqliteReplicaWriter;
/// use sync_core::model::ReplicaId;
/// use sync_core::replica::rows::ReplicaReads;
/// use storage_kit::{Durability, Transactional};
///
/// let mut core = SqliteReplicaWriter::in_memory(ReplicaId([7; 16]))?;
/// core.begin(Durability::Power)?;
/// // ... sync_core::replica::ops, called with `&mut core` ...
/// core.commit()?;
/// assert_eq!(core.meta()?.map(|m| m.replica), Some(ReplicaId([7; 16])));
/// # Ok::<(), sync_core::error::Error>(())
/// ```
pub type SqliteReplicaWriter = Core<Replica, Writing>;

/// The core that reads a replica's file, one snapshot at a time.
pub type SqliteReplicaReader = Core<Replica, Reading>;

/// Opens a replica's file and starts its threads. A file that is missing or empty becomes the
/// replica `fresh`; any other keeps its identity.
///
/// This blocks while it reads, creates and migrates files, for at most the busy timeout if another
/// process blocks it: async code calls it on a thread for blocking work.
///
/// # Errors
/// `Incompatible` for a file that is not a replica's, is damaged or of a newer version; it is not
/// changed. `Storage` if it cannot be read or written, or a thread cannot be started.
///
/// ```
/// use storage_sqlite::{SqliteConfig, open_replica};
/// use sync_core::model::ReplicaId;
/// use sync_core::storage::Storage;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.db");
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let open = move || open_replica(&SqliteConfig::new(path), ReplicaId([7; 16]));
/// let storage = tokio::task::spawn_blocking(open).await??;
/// assert_eq!(storage.state().await?.replica, ReplicaId([7; 16]));
/// storage.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_replica(config: &SqliteConfig, fresh: ReplicaId) -> Result<SqliteStorage> {
    let mut writer = SqliteReplicaWriter::open(config, fresh)?;
    let mut readers = Vec::new();
    for _ in 0..config.reader_count() {
        let mut reader = SqliteReplicaReader::open(config)?;
        reader.wants_index = Arc::clone(&writer.wants_index);
        readers.push(reader);
    }
    let mut listeners = None;
    if let Some(place) = &writer.place {
        let (watch, whom) = Watch::start(place)?;
        writer.watch = Some(watch);
        listeners = Some(whom);
    }
    let storage = ThreadedStorage::start(writer, readers, config.write_limits, config.threads)?;
    if let Some(whom) = listeners {
        // It fails only if the writer has ended already, and then there is nothing to report.
        let _ = whom.send(Arc::downgrade(&storage.notifier()));
    }
    Ok(storage)
}

impl SqliteReplicaWriter {
    /// Opens a file for writing; one that is missing or empty becomes the replica `fresh`. Blocks.
    ///
    /// # Errors
    /// As [`open_replica`].
    pub fn open(config: &SqliteConfig, fresh: ReplicaId) -> Result<Self> {
        Self::open_file(config)?.initialised(fresh)
    }

    /// Opens a replica in memory, which is lost when this is dropped. It has no file: no other
    /// process can read it, and nothing of it survives a crash.
    ///
    /// # Errors
    /// `Storage`.
    pub fn in_memory(fresh: ReplicaId) -> Result<Self> {
        Self::open_memory()?.initialised(fresh)
    }

    fn initialised(mut self, fresh: ReplicaId) -> Result<Self> {
        self.begin(Durability::Power)?;
        if let Err(error) = ops::initialise(&mut self, fresh) {
            self.rollback();
            return Err(error);
        }
        self.commit()?;
        Ok(self)
    }
}

impl SqliteReplicaReader {
    /// Opens a file for reading that a [writer](SqliteReplicaWriter::open) has opened before.
    /// Blocks.
    ///
    /// # Errors
    /// As [`open_replica`]; also `Storage` if there is no file.
    pub fn open(config: &SqliteConfig) -> Result<Self> {
        Self::open_file(config)
    }
}
