//! Local writes, pushes, and chunks that meet local edits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::sync::Arc;
use std::time::Duration;

use benches::documents::{Order, body, chunk, collection, id};
use benches::setup::{environment, memory_server, replica_over, sqlite_storage};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sync_core::model::{Body, DocumentId, FencingToken, Scope};
use sync_core::replica::{Context, LocalTransaction, LocalWrite, WriteOperation};
use sync_core::resolver::Resolvers;
use tokio::runtime::Runtime;

const DOCUMENTS: usize = 1_000;

/// A transaction that writes those documents.
fn transaction(numbers: impl Iterator<Item = usize>) -> LocalTransaction {
    let collection = collection().expect("a collection");
    let write = |n: usize| {
        LocalWrite::new(
            collection.clone(),
            DocumentId::new(id(Order::Random, n)).expect("an id"),
            WriteOperation::Put(Body::parse(body(n + 1)).expect("a body")),
        )
    };
    LocalTransaction { scope: Scope::default(), writes: numbers.map(write).collect() }
}

fn local_write(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("local_write");
    group.sample_size(10);
    for each in [1, 100, 1_000] {
        let storage = sqlite_storage(folder.path()).expect("a storage");
        let mut written = 0;
        group.throughput(Throughput::Elements(each as u64));
        group.bench_function(BenchmarkId::new("sqlite", each), |b| {
            b.iter_batched(
                || {
                    written += each;
                    transaction(written - each..written)
                },
                |transaction| {
                    let write = storage.write(environment().now(), transaction);
                    runtime.block_on(write).expect("it is written")
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn push(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("push");
    group.sample_size(10).throughput(Throughput::Elements(DOCUMENTS as u64));
    let once = || async {
        let server = memory_server().expect("a server");
        let storage = sqlite_storage(folder.path()).expect("a storage");
        let transaction = transaction(0..DOCUMENTS);
        storage.write(environment().now(), transaction).await.expect("it is written");
        let transport = Arc::new(server.in_process());
        let scope = Scope::default();
        let replica = replica_over(transport, storage, &scope, 1_000).await;
        let replica = replica.expect("a replica opens");
        let began = tokio::time::Instant::now();
        replica.push().await.expect("it is pushed");
        let took = began.elapsed();
        replica.close().await.expect("it closes");
        took
    };
    group.bench_function("sqlite, in process", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| runtime.block_on(once())).sum());
    });
    group.finish();
}

fn apply(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let folder = tempfile::tempdir().expect("a folder");
    let chunk = chunk(DOCUMENTS).expect("a chunk");
    let mut group = criterion.benchmark_group("apply");
    group.sample_size(10).throughput(Throughput::Elements(DOCUMENTS as u64));
    let once = async |dirty: usize| -> Duration {
        let storage = sqlite_storage(folder.path()).expect("a storage");
        let lease = storage.claim("a benchmark".to_owned()).await.expect("a lease");
        if dirty > 0 {
            let edits =
                transaction((0..DOCUMENTS).filter(|n| n * dirty / 100 != (n + 1) * dirty / 100));
            storage.write(environment().now(), edits).await.expect("it is written");
        }
        let cx = Context { now: environment().now(), resolvers: Resolvers::default(), lease };
        let began = tokio::time::Instant::now();
        let applied = storage.apply(cx, chunk.clone()).await.expect("it is applied");
        let took = began.elapsed();
        assert_eq!(applied.committed.conflicts.len(), DOCUMENTS * dirty / 100);
        assert!(lease > FencingToken(0) && applied.moved);
        storage.close().await.expect("it closes");
        took
    };
    for dirty in [0, 10, 100] {
        group.bench_function(BenchmarkId::new("sqlite, % dirty", dirty), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| runtime.block_on(once(dirty))).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, local_write, push, apply);
criterion_main!(benches);
