//! The small door for storage backends: an ordered key-value store is enough.
//!
//! Implement [`OrderedKv`] (get, range, atomic batch) and [`KvStorage`] and [`KvServerStorage`] are a
//! [`Storage`](crate::storage::Storage) and a [`ServerStorage`](crate::storage::ServerStorage) over it: threads, group
//! commit, snapshots and every rule of replica and server included. The memory backend is made this way.
//!
//! ```
//! use std::sync::Arc;
//! use sync_core::kv::{KvOptions, MemoryKv, open_replica};
//! use sync_core::model::ReplicaId;
//!
//! let storage = open_replica(Arc::new(MemoryKv::default()), ReplicaId([7; 16]), KvOptions::default())?;
//! # Ok::<(), sync_core::error::Error>(())
//! ```

mod access;
mod keys;
mod memory;
mod replica;
mod server;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::model::ReplicaId;
use crate::replica::WriteLimits;
use crate::replica::ops;
use crate::storage::{Durability, ReplicaThreads, ServerThreads, ThreadOptions, Transactional};

pub use access::{KvReader, KvWriter};
pub use memory::MemoryKv;
pub use replica::ReplicaKv;
pub use server::ServerKv;

/// What one [`OrderedKv::range`] tells of each entry, and whether it wants more.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;

/// An ordered key-value store. Calls block; they come from threads of the storage's own, one writer at a time.
pub trait OrderedKv: Send + Sync + fmt::Debug + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// `Storage` if reading failed.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Visits the entries with `start <= key < end` in the order of the keys' bytes, until the visitor breaks off.
    ///
    /// # Errors
    /// `Storage` if reading failed, or what the visitor failed with.
    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()>;

    /// Writes and removes all of the batch or nothing. When it returns, the batch keeps what `durability` promises, and
    /// every read sees it. A key stands in it once.
    ///
    /// # Errors
    /// `Storage` if writing failed; nothing of the batch was then written.
    fn commit(&self, batch: Batch, durability: Durability) -> Result<()>;
}

/// Keys to write, and keys to remove (those without a value), in order.
pub type Batch = Vec<(Vec<u8>, Option<Bytes>)>;

/// A replica's storage over a key-value store.
pub type KvStorage<K> = ReplicaThreads<ReplicaKv<KvWriter<K>>, ReplicaKv<KvReader<K>>>;

/// A server's storage over a key-value store.
pub type KvServerStorage<K> = ServerThreads<ServerKv<KvWriter<K>>, ServerKv<KvReader<K>>>;

/// Bounds of a storage over a key-value store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvOptions {
    /// Bounds of local writes.
    pub limits: WriteLimits,
    /// Bounds of the threads.
    pub threads: ThreadOptions,
    /// Reader threads.
    pub readers: usize,
}

impl Default for KvOptions {
    /// The default limits, and one reader.
    fn default() -> Self {
        Self { limits: WriteLimits::default(), threads: ThreadOptions::default(), readers: 1 }
    }
}

/// Opens a replica's storage; a store that is empty becomes the replica `id`.
///
/// # Errors
/// `Storage` if the store fails or a thread cannot be started, `Incompatible` if something else is in the store.
pub fn open_replica<K: OrderedKv>(
    kv: Arc<K>,
    id: ReplicaId,
    options: KvOptions,
) -> Result<KvStorage<K>> {
    let (mut writer, readers) = access::pair(kv, options.readers);
    keys::check_kind(&mut writer, b"replica")?;
    let mut writer = ReplicaKv(writer);
    writer.begin(Durability::Power)?;
    ops::initialise(&mut writer, id)?;
    writer.commit()?;
    let readers = readers.into_iter().map(ReplicaKv).collect();
    ReplicaThreads::start(writer, readers, options.limits, options.threads)
}

/// Opens a server's storage.
///
/// # Errors
/// `Storage` if the store fails or a thread cannot be started, `Incompatible` if something else is in the store.
pub fn open_server<K: OrderedKv>(kv: Arc<K>, options: KvOptions) -> Result<KvServerStorage<K>> {
    let (mut writer, readers) = access::pair(kv, options.readers);
    keys::check_kind(&mut writer, b"server")?;
    let readers = readers.into_iter().map(ServerKv).collect();
    ServerThreads::start(ServerKv(writer), readers, options.threads)
}
