//! The traits that custom storages and transports implement, and the modules whose types appear in
//! them.
//!
//! The guide is `docs/writing-a-backend.md`; the crate `testkit` has the suites that a backend
//! runs.
//!
//! | Module | Holds |
//! |---|---|
//! | [`storage`] | the trait [`Storage`](storage::Storage), and what runs a blocking database behind it |
//! | [`kv`] | [`OrderedKv`](kv::OrderedKv), for ordered key-value stores, and the store in memory |
//! | [`transport`] | the traits [`Transport`](transport::Transport) and [`Connection`](transport::Connection) |
//! | [`framed`] | the protocol over anything that carries frames |
//! | [`replica`], [`model`], [`protocol`], [`codec`] | the data, and its bytes |
//! | [`driver`], [`engine`] | what drives a storage and a transport |
//! | [`environment`], [`clock`] | time and randomness, which tests pass in |
//!
//! An app needs none of this, except for a value that it passes on:
//!
//! ```
//! use std::sync::Arc;
//! use twotide::backend::environment::{Environment, System};
//! use twotide::backend::kv::{KvOptions, MemoryKv, open_replica};
//! use twotide::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let environment: &dyn Environment = &System;
//! let kv = Arc::new(MemoryKv::default());
//! let storage = open_replica(kv, environment.replica_id(), KvOptions::default())?;
//! let replica = Replica::builder().storage(Arc::new(storage)).open().await?;
//! # replica.close().await
//! # }
//! ```

pub use storage_kit::kv;
pub use sync_core::{
    clock, codec, driver, engine, environment, error, model, protocol, replica, resolver, transport,
};
pub use transport_kit::framed;

/// The contract of storage, and what runs a blocking database behind it.
pub mod storage {
    #[cfg(feature = "server")]
    pub use storage_kit::ThreadedServerStorage;
    pub use storage_kit::{
        CommitVersion, Durability, ReplicaWriter, Snapshot, ThreadOptions, ThreadedStorage,
        Transactional,
    };
    pub use sync_core::storage::Storage;
}
