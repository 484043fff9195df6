//! redb as the storage of a replica or of a server: a backend that uses only the public API.
//!
//! It is the example of the guide `docs/writing-a-backend.md`, which explains each part.
//!
//! ```text
//!   open_replica ──► KvStorage<RedbKv>, a Storage ────────────────┐   threads, group commit, snapshots
//!   open_server ───► KvServerStorage<RedbKv>, a ServerStorage ────┤   and every rule: storage_kit::kv
//!                                                                 ▼
//!                                            RedbKv: get, range, commit   ◄── what had to be written
//!                                                                 ▼
//!                                                               redb
//! ```
//!
//! ```
//! use storage_redb::open_replica;
//! use sync_core::model::ReplicaId;
//! use sync_core::storage::Storage;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("app.redb");
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let open = move || open_replica(&path, ReplicaId([7; 16]));
//! let storage = tokio::task::spawn_blocking(open).await??;
//! assert_eq!(storage.state().await?.replica, ReplicaId([7; 16]));
//! storage.close().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod error;
mod store;

use std::path::Path;
use std::sync::Arc;

use storage_kit::kv::{self, KvOptions, KvServerStorage, KvStorage};
use sync_core::error::Result;
use sync_core::model::ReplicaId;

pub use store::RedbKv;

/// A replica's storage.
pub type RedbStorage = KvStorage<RedbKv>;

/// A server's storage.
pub type RedbServerStorage = KvServerStorage<RedbKv>;

/// Opens a replica's file and starts its threads; one that is missing becomes the replica `fresh`,
/// any other keeps its identity. Blocks.
///
/// # Errors
/// As [`RedbKv::open`]; also `Incompatible` for a file that is not a replica's.
pub fn open_replica(path: &Path, fresh: ReplicaId) -> Result<RedbStorage> {
    kv::open_replica(Arc::new(RedbKv::open(path)?), fresh, KvOptions::default())
}

/// Opens a server's file and starts its threads; one that is missing is created. Blocks.
///
/// # Errors
/// As [`RedbKv::open`]; also `Incompatible` for a file that is not a server's.
pub fn open_server(path: &Path) -> Result<RedbServerStorage> {
    kv::open_server(Arc::new(RedbKv::open(path)?), KvOptions::default())
}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-backend.md")]
mod guide {}
