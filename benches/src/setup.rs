//! Servers, storages and replicas for the benchmarks.

use std::path::Path;
use std::sync::Arc;

use storage_kit::kv::{KvOptions, MemoryKv};
use storage_sqlite::{SqliteConfig, open_replica};
use sync_core::environment::{Environment, System};
use sync_core::error::Result;
use sync_core::model::{Body, Collection, Limits, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;
use sync_core::transport::Transport;
use sync_server::ServerStorage;
use sync_server::{Server, ServerOptions};
use twotide::Replica;

/// The documents in a chunk, and in a transaction of the baseline.
pub(crate) const CHUNK: usize = 1_000;

/// Returns the operating system's time and randomness.
#[must_use]
pub fn environment() -> Arc<dyn Environment> {
    Arc::new(System)
}

/// The number of documents that are pushed together. A chunk is never cut within them, so they are
/// no more than the smallest chunk.
pub const APPEND: usize = 100;

/// Returns a server over a storage, which sends chunks of up to 10,000 documents.
#[must_use]
pub fn server(storage: impl ServerStorage) -> Server {
    let mut options = ServerOptions::default();
    options.chunk_limits = Limits { documents: 10_000, bytes: 8 << 20 };
    Server::builder(Arc::new(storage)).options(options).environment(environment()).build()
}

/// Returns a server over a key-value store in memory.
///
/// # Errors
/// As the storage.
pub fn memory_server() -> Result<Server> {
    Ok(server(storage_kit::kv::open_server(Arc::new(MemoryKv::default()), KvOptions::default())?))
}

/// Returns a replica's storage in memory.
///
/// # Errors
/// As the storage.
pub fn memory_storage() -> Result<Arc<dyn Storage>> {
    let kv = Arc::new(MemoryKv::default());
    Ok(Arc::new(storage_kit::kv::open_replica(
        kv,
        environment().replica_id(),
        KvOptions::default(),
    )?))
}

/// Opens a replica's storage in a SQLite file in that folder. Blocks.
///
/// # Errors
/// As the storage.
pub fn sqlite_storage(folder: &Path) -> Result<Arc<dyn Storage>> {
    let id = environment().replica_id();
    Ok(Arc::new(open_replica(&SqliteConfig::new(folder.join(format!("{id}.db"))), id)?))
}

/// Opens a replica's storage in a sled folder in that folder. Blocks.
///
/// # Errors
/// As the storage.
pub fn sled_storage(folder: &Path) -> Result<Arc<dyn Storage>> {
    let id = environment().replica_id();
    let config = storage_sled::SledConfig::new(folder.join(format!("{id}.sled")));
    Ok(Arc::new(storage_sled::open_replica(&config, id)?))
}

/// Opens a replica that syncs over a transport, in chunks of that many documents.
///
/// # Errors
/// As the storage.
pub async fn replica_over(
    transport: Arc<dyn Transport>,
    storage: Arc<dyn Storage>,
    scope: &Scope,
    chunk: usize,
) -> Result<Replica> {
    let builder = Replica::builder().storage(storage).transport(transport).scope(scope.as_str());
    builder.chunk_limits(Limits { documents: chunk, bytes: 8 << 20 }).open().await
}

/// Opens a replica that syncs with the server in this process, in chunks of that many documents.
///
/// # Errors
/// As the storage.
pub async fn replica(server: &Server, storage: Arc<dyn Storage>, chunk: usize) -> Result<Replica> {
    let transport = Arc::new(server.in_process());
    let builder = Replica::builder().storage(storage).transport(transport);
    let chunks = Limits { documents: chunk, bytes: 8 << 20 };
    let pushes = Limits { documents: APPEND, ..Limits::PUSH };
    builder.chunk_limits(chunks).push_limits(pushes).open().await
}

/// Writes that many documents of 258 bytes under time-ordered ids, and pushes them.
///
/// # Errors
/// As the storage and the sync.
pub async fn fill(server: &Server, documents: usize) -> Result<()> {
    let writer = replica(server, memory_storage()?, 1_000).await?;
    let collection = Collection::new("documents")?;
    let body = Body::parse(format!(r#"{{"text":"{}"}}"#, "x".repeat(247)))?;
    let mut left = documents;
    while left > 0 {
        let count = left.min(APPEND);
        left -= count;
        let write = |_| {
            LocalWrite::new(
                collection.clone(),
                environment().document_id(),
                WriteOperation::Insert(body.clone()),
            )
        };
        let transaction =
            LocalTransaction { scope: Scope::default(), writes: (0..count).map(write).collect() };
        writer.storage().write(environment().now(), transaction).await?;
    }
    writer.sync_now().await?;
    writer.close().await
}
