//! sled as the storage of a replica or of a server.
//!
//! ```text
//!   SledStorage = KvStorage<SledKv>     SledServerStorage = KvServerStorage<SledKv>     (threads, rules: storage-kit)
//!                       └──────────┬──────────┘
//!                       SledKv: one folder, one tree
//!                       ├── pieces   values cut so small that sled keeps them in its log
//!                       ├── snapshots  puts aside what sled did not finish writing
//!                       ├── watch    wakes a flush that sled forgot
//!                       └── folder   its check, its lock, and the sync that sled leaves out
//! ```
//!
//! [`open_replica`] and [`open_server`] open a folder and start its threads. [`SledKv`] can be used
//! alone as well.
//!
//! # Guarantees
//!
//! - What a storage must make durable is flushed and synced before it is acknowledged
//!   ([`SledConfig::sync`]). Everything else is flushed: until a flush sled keeps writes in the
//!   memory of the process, so that even a crash of the process would lose them.
//! - One process at a time has a folder open. Another one receives
//!   [`Busy`](sync_core::error::ErrorKind::Busy), after [`SledConfig::lock_timeout`]. The folder is
//!   free when `close` returns, or when the process crashes.
//! - A folder that is not sled's, of the other kind (a server's as a replica's), of another program
//!   or another version of sled is refused with
//!   [`Incompatible`](sync_core::error::ErrorKind::Incompatible), and nothing is written to it.
//!   Only if another program uses sled with exactly our settings does sled itself open the store
//!   before it is refused.
//! - When a write fails, for example on a full disk, the storage stops: every call fails with
//!   [`Storage`](sync_core::error::ErrorKind::Storage), and with the advice not to retry, until the
//!   folder is opened again. Then the failed write is stored whole or not at all, and everything
//!   acknowledged is stored.
//! - **Erased data stays in the files for a while.** Data that was
//!   [erased](sync_core::replica::WriteOperation::Erase) is no longer returned to any reader of the
//!   storage. But sled writes a log: old values stay in its file until their segment is reused,
//!   which may be never, and nothing shows when.
//!   [`purge_erased`](sync_core::storage::Storage::purge_erased) therefore returns `false`. If the
//!   bytes must be removed, use SQLite, or copy the remaining data to a new folder and delete the
//!   old one.
//! - A snapshot that sled did not finish, because the process was killed or the disk was full while
//!   the folder was opened, is renamed to `unfinished-snap.…` with a warning, and is not needed. It
//!   may be deleted.
//! - A torn end of the file, as after a crash, is cut off. Detected damage is an error, not a
//!   panic. But sled may also mistake damage for a torn end, and continue without the data after
//!   it. Keep backups against that.
//!
//! # When to choose it, and when not
//!
//! Choose SQLite, unless there is a reason against it: it needs a third of the space for documents
//! that are written once and a tenth for documents that are written often, opens at once, writes
//! faster, lets several processes share one replica, survives a full disk without being reopened,
//! and can be queried in SQL. A reason for sled is that SQLite is not wanted: sled's code is all
//! Rust. That alone does not avoid a C compiler, because TLS and zstd in the transports need one as
//! well. Version 0.34 dates from 2021 and is not maintained.
//!
//! Measured with `cargo run --release -p benches --example churn`, on two cores of a virtual
//! machine that others used at the same time, ext4; documents of 300 bytes, in local transactions
//! of 500, sizes as the file system counts them. Times are those of one run, and of that machine's
//! disk above all:
//!
//! | | SQLite | sled |
//! |---|---|---|
//! | 10,000 documents, each written once | 5.7 MiB | 20.0 MiB |
//! | each written 30 more times, in another order: the most | 24.5 MiB | 80.0 MiB |
//! | closed, and opened again | 6.8 MiB | 68.1 MiB |
//! | all deleted, closed | 6.8 MiB | 68.1 MiB |
//! | time of the 30 rounds | 6.9 s | 21 s |
//! | 100,000 documents, each written once | 50 MiB | 121 MiB |
//! | time of writing them | 1.1 s | 5.1 s |
//! | opening them | under 10 ms | 0.1 s |
//! | memory of the process then | 6 MiB | 35 MiB |
//! | memory after reading all | 24 MiB | 97 MiB |
//!
//! The folder stops growing: 2,000 documents took 12 MiB after 20, 60 and 180 rounds alike (SQLite:
//! The folder stops growing: 2,000 documents took 12 MiB after 20, 60 and 180 rounds alike (SQLite:
//! 18 MiB while open, 1.6 MiB closed). It does not shrink: deletions free space for later writes,
//! not for other files. Opening reads the part of the log that was written since the last opening,
//! and a table of all pages. About 64 MiB of the memory are [`SledConfig::cache_bytes`]; the rest
//! is additional.
//!
//! All stores of sled in one process share one lock: while one of them commits, the others neither
//! read nor write. Use SQLite for a server and a replica in one process.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod chunking;
mod config;
mod error;
mod folder;
mod snapshots;
mod store;
mod watch;

use std::sync::Arc;

#[cfg(feature = "server")]
use storage_kit::kv::KvServerStorage;
use storage_kit::kv::{self, KvStorage};
use sync_core::error::Result;
use sync_core::model::ReplicaId;

pub use config::SledConfig;
pub use store::SledKv;

/// A replica's storage: a thread that writes, and threads that read.
pub type SledStorage = KvStorage<SledKv>;

/// A server's storage: a thread that writes, and threads that read.
#[cfg(feature = "server")]
pub type SledServerStorage = KvServerStorage<SledKv>;

/// Opens a replica's folder and starts its threads. A folder that is missing or empty becomes the
/// replica `fresh`; any other keeps its identity.
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

/// Opens a server's folder, creates it if it is missing or empty, and starts its threads.
///
/// This blocks while sled reads the folder: async code calls it on a thread for blocking work.
///
/// # Errors
/// As [`SledKv::open`]; also `Incompatible` for a folder that is not a server's.
///
/// ```
/// use storage_sled::{SledConfig, open_server};
/// use sync_core::model::Scope;
/// use sync_server::ServerStorage;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("server.sled");
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let storage = tokio::task::spawn_blocking(|| open_server(&SledConfig::new(path))).await??;
/// assert!(storage.find_scope(Scope::default()).await?.is_none());
/// storage.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "server")]
pub fn open_server(config: &SledConfig) -> Result<SledServerStorage> {
    kv::open_server(Arc::new(SledKv::open(config)?), config.options())
}
