//! Support for authors of storages: everything besides a backend's own reads and writes.
//!
//! There are three ways to write a storage, from the most work to the least:
//!
//! - Implement [`Storage`](sync_core::storage::Storage) itself, the whole contract, at native
//!   speed.
//! - Implement typed rows inside a transaction
//!   ([`ReplicaRows`](sync_core::replica::rows::ReplicaRows)) in a blocking store, and let
//!   [`ThreadedStorage`] run it: it adds threads, coalesces writes into one commit, and applies the
//!   rules that all backends share.
//! - Implement [`OrderedKv`](kv::OrderedKv), a plain ordered key-value store; [`kv`] provides the
//!   rows over it.
//!
//! A server's storage (feature `server`) is written the same way, with `ThreadedServerStorage` and
//! `ServerRows`.
//!
//! The main types are [`ThreadedStorage`], the trait [`OrderedKv`](kv::OrderedKv), and
//! [`MemoryKv`](kv::MemoryKv), the store in memory that tests use:
//!
//! ```
//! use std::sync::Arc;
//!
//! use storage_kit::kv::{KvOptions, MemoryKv, open_replica};
//! use sync_core::model::ReplicaId;
//! use sync_core::storage::Storage;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let memory = Arc::new(MemoryKv::default());
//! let storage = open_replica(memory, ReplicaId([7; 16]), KvOptions::default())?;
//! assert_eq!(storage.state().await?.replica, ReplicaId([7; 16]));
//! # Ok::<(), sync_core::error::Error>(())
//! # }).unwrap();
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod blocking_executor;
mod commit_version;
mod inline;
pub mod kv;
mod read_queue;
mod recent;
mod replica_writer;
#[cfg(feature = "server")]
mod scope_cache;
#[cfg(feature = "server")]
mod threaded_server_storage;
mod threaded_storage;
mod transactional;
mod write_coalescer;
mod writer;

pub use blocking_executor::ThreadOptions;
pub use commit_version::CommitVersion;
pub use replica_writer::ReplicaWriter;
#[cfg(feature = "server")]
pub use threaded_server_storage::ThreadedServerStorage;
pub use threaded_storage::ThreadedStorage;
pub use transactional::{Durability, Snapshot, Transactional};
