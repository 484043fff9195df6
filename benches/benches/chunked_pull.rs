//! A fresh replica pulls 20,000 documents in chunks, by the size of a chunk and by storage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::sync::Arc;
use std::time::Duration;

use benches::{fill, memory_storage, replica, server, sqlite_storage};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use storage_sqlite::{SqliteConfig, open_server};
use sync_core::kv::{KvOptions, MemoryKv};
use sync_core::server::Server;
use sync_core::storage::Storage;
use tokio::runtime::Runtime;

const DOCUMENTS: usize = 20_000;

fn pull(runtime: &Runtime, server: &Server, storage: Arc<dyn Storage>, chunk: usize) -> Duration {
    runtime.block_on(async {
        let replica = replica(server, storage, chunk).await.expect("a replica opens");
        let began = tokio::time::Instant::now();
        replica.sync_now().await.expect("it syncs");
        let took = began.elapsed();
        assert_eq!(replica.statistics().borrow().pulled, DOCUMENTS as u64);
        replica.close().await.expect("it closes");
        took
    })
}

fn chunked_pull(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("chunked_pull");
    group.sample_size(10).throughput(Throughput::Elements(DOCUMENTS as u64));
    let kv = Arc::new(MemoryKv::default());
    let memory = sync_core::kv::open_server(kv, KvOptions::default()).expect("a server opens");
    let memory = server(memory);
    let sqlite = open_server(&SqliteConfig::new(folder.path().join("server.db")));
    let sqlite = server(sqlite.expect("a server opens"));
    for server in [&memory, &sqlite] {
        runtime.block_on(fill(server, DOCUMENTS)).expect("the server is filled");
    }
    for chunk in [100, 1_000, 10_000] {
        group.bench_function(BenchmarkId::new("memory", chunk), |b| {
            b.iter_custom(|rounds| {
                let once = |_| pull(&runtime, &memory, memory_storage().expect("a storage"), chunk);
                (0..rounds).map(once).sum()
            });
        });
        group.bench_function(BenchmarkId::new("sqlite", chunk), |b| {
            b.iter_custom(|rounds| {
                let storage = || sqlite_storage(folder.path()).expect("a storage");
                (0..rounds).map(|_| pull(&runtime, &sqlite, storage(), chunk)).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chunked_pull);
criterion_main!(benches);
