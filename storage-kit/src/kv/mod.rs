//! The simplest extension point for storage backends: an ordered key-value store is enough.
//!
//! A backend implements [`OrderedKv`] (get, range, atomic batch), and [`KvStorage`] and
//! [`KvServerStorage`] are a [`Storage`](sync_core::storage::Storage) and a
//! [`ServerStorage`](sync_server::ServerStorage) over it: threads, group commit, snapshots and
//! every rule of replica and server included. The memory backend is implemented this way.
//!
//! ```
//! use std::sync::Arc;
//! use storage_kit::kv::{KvOptions, MemoryKv, open_replica};
//! use sync_core::model::ReplicaId;
//!
//! let storage = open_replica(Arc::new(MemoryKv::default()), ReplicaId([7; 16]), KvOptions::default())?;
//! # Ok::<(), sync_core::error::Error>(())
//! ```

mod access;
mod feed;
mod keys;
mod memory;
mod overlay;
mod replica;
#[cfg(feature = "server")]
mod server;
mod written;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

#[cfg(feature = "server")]
use crate::ThreadedServerStorage;
use crate::{Durability, ThreadOptions, ThreadedStorage, Transactional};
use sync_core::error::Result;
use sync_core::model::{ReplicaId, WriteLimits};
use sync_core::replica::ops;

pub use access::{KvReader, KvWriter};
pub use keys::Key;
pub use memory::MemoryKv;
pub use replica::ReplicaKv;
#[cfg(feature = "server")]
pub use server::ServerKv;

/// The callback of [`OrderedKv::range`], which receives key and value of each entry, and returns
/// whether to continue.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;

/// An ordered key-value store, from which [`open_replica`] and [`open_server`] make a storage.
///
/// # What a store may rely on
///
/// - Calls block, and come from threads of the storage: never from an async task.
/// - There is one writer. Commits are called one at a time, in the order in which they take effect.
/// - No read runs during a commit, and no commit happens between the reads of one snapshot. The
///   layer above ensures it, so a store needs no snapshots. Reads run concurrently, as many as
///   there are [readers](KvOptions::readers).
/// - Keys have 1 to 800 bytes. Values are empty up to some MiB: the largest holds a document with
///   all its metadata.
/// - The visitor of a range does not call the store.
/// - When the storage is closed, or its last handle is dropped, its threads drop the store, which
///   then releases its files and locks. [`close`](sync_core::storage::Storage::close) returns after
///   that.
///
/// # What a store must guarantee
///
/// - Keys are ordered by their bytes, compared as unsigned numbers; a key that is a prefix of
///   another one comes first.
/// - No other process writes to it while it is open: a server caches the head of a log until it
///   commits.
/// - A commit is whole or not at all: for every read after it, after a crash, and after a power
///   failure.
/// - Errors carry [retry advice](sync_core::error::Error::retrying). A store that fail-stops
///   returns [`Never`](sync_core::error::Retry::Never) for every call after the failure.
/// - A problem of the disk is an error, not a panic. A panic in a read fails that one request; a
///   panic in a commit ends the writer's thread, and every write fails with `Closed` from then on.
pub trait OrderedKv: Send + Sync + fmt::Debug + 'static {
    /// Returns the value of the newest commit that wrote the key; none if there is no such commit,
    /// or if a later one removed the key. An empty value is a value.
    ///
    /// # Errors
    /// `Storage` if reading failed, `Incompatible` if what is stored is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Visits the entries with `start <= key < end`, each once, in the order of the keys' bytes,
    /// until the visitor stops or fails. There are none if `start` is not below `end`, which is no
    /// error. An empty `start` is before all keys.
    ///
    /// The entries need not be in memory at the same time: a range may be as long as the data.
    ///
    /// # Errors
    /// `Storage` if reading failed, `Incompatible` if the stored data is damaged, or the unchanged
    /// error of the visitor.
    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()>;

    /// Writes and removes all of the batch or nothing. When it returns, the batch and everything
    /// that was committed before have the durability of `durability`, and every read observes the
    /// batch.
    ///
    /// [`Durability::Process`] is more than memory: it must survive a killed process, so the batch
    /// must have been passed to the operating system. A store with only one way to write uses it
    /// for both.
    ///
    /// The batch is in the order of its keys, and contains a key once. Removing a key that does not
    /// exist is no error. An empty batch is not committed.
    ///
    /// # Errors
    /// `Storage` if writing failed. Then nothing of the batch was written, and the store is
    /// unchanged. A store that cannot know, because a flush failed, must fail every later call
    /// until it is opened again; the batch may then be stored, whole.
    fn commit(&self, batch: Batch, durability: Durability) -> Result<()>;

    /// Removes values that were replaced or removed by earlier commits from the store's files, and
    /// returns whether nothing of them is left. By default it does nothing and returns `false`: for
    /// a store whose files keep old values until it overwrites them. No read and no commit runs
    /// meanwhile.
    ///
    /// # Errors
    /// `Storage` if it failed; what was committed stays.
    fn purge_erased(&self) -> Result<bool> {
        Ok(false)
    }
}

/// Keys to write, and keys to remove (those without a value), in order.
pub type Batch = Vec<(Key, Option<Bytes>)>;

/// A replica's storage over a key-value store.
pub type KvStorage<K> = ThreadedStorage<ReplicaKv<KvWriter<K>>, ReplicaKv<KvReader<K>>>;

/// A server's storage over a key-value store.
#[cfg(feature = "server")]
pub type KvServerStorage<K> = ThreadedServerStorage<ServerKv<KvWriter<K>>, ServerKv<KvReader<K>>>;

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
    /// Returns the default limits, and one reader.
    fn default() -> Self {
        Self { limits: WriteLimits::default(), threads: ThreadOptions::default(), readers: 1 }
    }
}

/// Opens a replica's storage and starts its threads; a store that is empty becomes the replica
/// `id`, any other keeps its identity. Blocks.
///
/// # Errors
/// What the store fails with; `Storage` if a thread cannot be started; `Incompatible` if a server,
/// another program or a newer version has written to the store, which is then left as it is.
pub fn open_replica<K: OrderedKv>(
    kv: Arc<K>,
    id: ReplicaId,
    options: KvOptions,
) -> Result<KvStorage<K>> {
    let (mut writer, readers) = access::pair(kv, options.readers);
    keys::check_kind(&mut writer, b"replica", 2)?;
    feed::gather_places(&mut writer)?;
    let mut writer = ReplicaKv(writer);
    writer.begin(Durability::Power)?;
    ops::initialise(&mut writer, id)?;
    writer.commit()?;
    let readers = readers.into_iter().map(ReplicaKv).collect();
    ThreadedStorage::start(writer, readers, options.limits, options.threads)
}

/// Opens a server's storage and starts its threads; a store that is empty becomes a server's.
/// Blocks.
///
/// # Errors
/// What the store fails with; `Storage` if a thread cannot be started; `Incompatible` if a replica,
/// another program or a newer version has written to the store, which is then left as it is.
#[cfg(feature = "server")]
pub fn open_server<K: OrderedKv>(kv: Arc<K>, options: KvOptions) -> Result<KvServerStorage<K>> {
    let (mut writer, readers) = access::pair(kv, options.readers);
    keys::check_kind(&mut writer, b"server", 1)?;
    let readers = readers.into_iter().map(ServerKv).collect();
    ThreadedServerStorage::start(ServerKv(writer), readers, options.threads)
}
