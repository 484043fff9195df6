//! sled as the storage of a replica or of a server.

#![forbid(unsafe_code)]

mod config;
mod error;
mod folder;
mod pieces;
mod store;
mod watch;

use std::sync::Arc;

use sync_core::error::Result;
use sync_core::kv::{self, KvServerStorage, KvStorage};
use sync_core::model::ReplicaId;

pub use config::SledConfig;
pub use store::SledKv;

/// A replica's storage: a thread that writes, and threads that read.
pub type SledStorage = KvStorage<SledKv>;

/// A server's storage: a thread that writes, and threads that read.
pub type SledServerStorage = KvServerStorage<SledKv>;

/// Opens a replica's folder and starts its threads. A folder that is missing or empty becomes the replica `fresh`; any
/// other keeps its identity.
///
/// This blocks while sled reads the folder: async code calls it on a thread for blocking work.
///
/// # Errors
/// As [`SledKv::open`]; also `Incompatible` for a folder that is not a replica's.
///
/// ```
/// use storage_sled::{SledConfig, open_replica};
/// use sync_core::model::ReplicaId;
/// use sync_core::storage::Storage;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.sled");
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let open = move || open_replica(&SledConfig::new(path), ReplicaId([7; 16]));
/// let storage = tokio::task::spawn_blocking(open).await??;
/// assert_eq!(storage.state().await?.replica, ReplicaId([7; 16]));
/// storage.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_replica(config: &SledConfig, fresh: ReplicaId) -> Result<SledStorage> {
    kv::open_replica(Arc::new(SledKv::open(config)?), fresh, config.options())
}

/// Opens a server's folder, makes it if it is missing or empty, and starts its threads.
///
/// This blocks while sled reads the folder: async code calls it on a thread for blocking work.
///
/// # Errors
/// As [`SledKv::open`]; also `Incompatible` for a folder that is not a server's.
///
/// ```
/// use storage_sled::{SledConfig, open_server};
/// use sync_core::model::{Epoch, Scope, Seq};
/// use sync_core::storage::ServerStorage;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("server.sled");
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let storage = tokio::task::spawn_blocking(|| open_server(&SledConfig::new(path))).await??;
/// assert_eq!(storage.scope(Scope::default(), Epoch([1; 16])).await?.head, Seq(0));
/// storage.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_server(config: &SledConfig) -> Result<SledServerStorage> {
    kv::open_server(Arc::new(SledKv::open(config)?), config.options())
}
