//! What the tests of the facade share.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use sync_core::kv::{KvOptions, MemoryKv, open_replica};
use sync_core::model::ReplicaId;
use sync_core::server::Server;
use twotide::{Replica, ReplicaBuilder};

/// A replica in memory that syncs with a server in this process.
pub(crate) fn builder(server: &Server, id: u8) -> ReplicaBuilder {
    let kv = Arc::new(MemoryKv::default());
    let storage = open_replica(kv, ReplicaId([id; 16]), KvOptions::default()).unwrap();
    Replica::builder().storage(Arc::new(storage)).transport(Arc::new(server.in_process()))
}

/// Fails a test that hangs instead of waiting for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("this takes too long")
}
