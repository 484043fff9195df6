//! A fresh replica pulls 20,000 documents: by the size of a chunk and by storage, and by transport,
//! codec and compression.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::sync::Arc;
use std::time::Duration;

use benches::documents::Order;
use benches::server::{Listening, Way, append};
use benches::setup::{memory_server, memory_storage, replica_over, sled_storage, sqlite_storage};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sync_core::model::Scope;
use sync_core::storage::Storage;
use sync_core::transport::Transport;
use tokio::runtime::Runtime;

const DOCUMENTS: usize = 20_000;

fn pull(
    runtime: &Runtime,
    transport: Arc<dyn Transport>,
    storage: Arc<dyn Storage>,
    chunk: usize,
) -> Duration {
    runtime.block_on(async {
        let scope = Scope::default();
        let replica = replica_over(transport, storage, &scope, chunk).await;
        let replica = replica.expect("a replica opens");
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
    let server = memory_server().expect("a server opens");
    let scope = Scope::default();
    let filled = append(&**server.storage(), &scope, Order::Random, DOCUMENTS);
    runtime.block_on(filled).expect("the server is filled");
    let storage = |name| match name {
        "memory" => memory_storage(),
        "sqlite" => sqlite_storage(folder.path()),
        _ => sled_storage(folder.path()),
    };
    let mut group = criterion.benchmark_group("pull_by_storage");
    group.sample_size(10).throughput(Throughput::Elements(DOCUMENTS as u64));
    for chunk in [100, 1_000, 10_000] {
        for name in ["memory", "sqlite", "sled"] {
            group.bench_function(BenchmarkId::new(name, chunk), |b| {
                b.iter_custom(|rounds| {
                    let once = |_| {
                        let storage = storage(name).expect("a storage");
                        pull(&runtime, Arc::new(server.in_process()), storage, chunk)
                    };
                    (0..rounds).map(once).sum()
                });
            });
        }
    }
    group.finish();

    let listening = runtime.block_on(Listening::serve(server)).expect("a server listens");
    let mut group = criterion.benchmark_group("pull_by_transport");
    group.sample_size(10).throughput(Throughput::Elements(DOCUMENTS as u64));
    for (name, way) in [
        ("in process", None),
        ("WebSocket", Some(Way::WebSocket)),
        ("WebSocket, zstd", Some(Way::WebSocketZstd)),
        ("HTTP, frames", Some(Way::Http)),
        ("HTTP, JSON", Some(Way::HttpJson)),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let once = |_| {
                    let transport: Arc<dyn Transport> = match way {
                        None => Arc::new(listening.server.in_process()),
                        Some(way) => listening.transport(way).expect("a transport"),
                    };
                    let storage = memory_storage().expect("a storage");
                    pull(&runtime, transport, storage, 1_000)
                };
                (0..rounds).map(once).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chunked_pull);
criterion_main!(benches);
