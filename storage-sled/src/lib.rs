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
//! # What is promised
//!
//! - What a storage must make durable is flushed and synced before it is acknowledged
//!   ([`SledConfig::sync`]). Everything else is flushed: sled keeps what it is given in the memory
//!   of the process until then, so that without a flush even a crash of the process would lose it.
//! - One process at a time has a folder open. Another one gets
//!   [`Busy`](sync_core::error::ErrorKind::Busy), after [`SledConfig::lock_timeout`]. The folder is
//!   free when `close` returns, or when the process dies.
//! - A folder that is not sled's, of the other kind (a server's as a replica's), of another program
//!   or another version of sled is refused with
//!   [`Incompatible`](sync_core::error::ErrorKind::Incompatible), and nothing is written to it.
//!   Only if another program uses sled with exactly our settings, sled itself opens the store
//!   before it is refused.
//! - When a write fails, the disk being full for one, the storage stops: every call fails with
//!   [`Storage`](sync_core::error::ErrorKind::Storage), and with the advice not to retry, until the
//!   folder is opened again. Then the write that failed is there whole or not at all, and
//!   everything acknowledged is.
//! - **Erased data stays in the files for a while.** What is
//!   [erased](sync_core::replica::WriteOperation::Erase) is gone for every reader of the storage,
//!   at once. But sled writes a log: old values stay in its file until their part of it is used
//!   again, which may be never, and nothing shows when.
//!   [`purge_erased`](sync_core::storage::Storage::purge_erased) therefore returns `false`. Where
//!   bytes have to go, use SQLite, or write what is left to a new folder and remove the old one.
//! - A snapshot that sled did not finish, because the process was killed or the disk was full while
//!   the folder was opened, is renamed to `unfinished-snap.…` with a warning, and is not needed. It
//!   may be deleted.
//! - A torn end of the file, as a crash leaves it, is cut off. What is found damaged is an error,
//!   not a panic; but sled may also take damage for a torn end, and go on without what came after
//!   it. Backups are for that.
//!
//! # When to choose it, and when not
//!
//! Choose SQLite, unless there is a reason against it: it needs a third of the room for documents
//! that are written once and a tenth for documents that are written often, opens at once, writes
//! faster, lets several processes share one replica, outlives a full disk without being opened
//! again, and can be queried in SQL. A reason for sled is that SQLite is not wanted: sled's code is
//! all Rust. That alone makes no build without a C compiler, for TLS and zstd in the transports
//! need one as well. Version 0.34 dates from 2021 and is not maintained.
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
//! 18 MiB while open, 1.6 MiB closed). It does not shrink: what is deleted makes room for later
//! writes, not for others. Opening reads the part of the log that was written since the last
//! opening, and a table of all pages. Of the memory about 64 MiB are [`SledConfig::cache_bytes`];
//! the rest comes on top.
//!
//! All stores of sled in one process share one lock: while one of them commits, the others neither
//! read nor write. A server beside a replica, in one process, is better off with SQLite.

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

/// Opens a server's folder, makes it if it is missing or empty, and starts its threads.
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
