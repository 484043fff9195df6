//! The contracts of storage, and the shells that run a synchronous core on threads of its own.
//!
//! Two doors lead here. Implement [`Storage`] or [`ServerStorage`] yourself: the whole contract, at
//! native speed. Or give typed rows inside a transaction
//! ([`ReplicaRows`](crate::replica::rows::ReplicaRows),
//! [`ServerRows`](crate::server::rows::ServerRows); over a plain key-value store even those are
//! there, [`KvStorage`](crate::kv)), and [`ReplicaThreads`] and [`ServerThreads`] do the rest with
//! the logic that all our backends share.

mod gathered;
mod inline;
mod newest;
mod read_queue;
mod recent;
mod replica;
mod replica_threads;
mod server;
mod server_threads;
mod threads;

pub use newest::Probe;
pub use replica::Storage;
pub use replica_threads::{ReplicaThreads, ReplicaWriter};
pub use server::{ServerStorage, Visible};
pub use server_threads::ServerThreads;
pub use threads::{Durability, Snapshot, ThreadOptions, Transactional};
