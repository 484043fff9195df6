//! One change to 100 replicas that follow a scope, within this process and over WebSocket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::sync::Arc;
use std::time::Duration;

use benches::documents::Order;
use benches::server::{Listening, Way};
use benches::setup::{environment, memory_server, memory_storage, replica_over};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sync_core::model::{Body, DocumentId, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::transport::Transport;
use tokio::runtime::Runtime;
use twotide::Replica;

const LISTENERS: usize = 100;

async fn open(transport: Arc<dyn Transport>) -> Replica {
    let (storage, scope) = (memory_storage().expect("a storage"), Scope::default());
    let replica = replica_over(transport, storage, &scope, 1_000);
    let replica = replica.await.expect("a replica opens");
    replica.start().await.expect("it starts");
    replica.wait_until_in_sync().await.expect("it is in sync");
    replica
}

async fn tell(replicas: &[Replica], written: &mut u64) -> Duration {
    let n = *written as usize;
    *written += 1;
    let write = LocalWrite::new(
        benches::documents::collection().expect("a collection"),
        DocumentId::new(benches::documents::id(Order::Ordered, n)).expect("an id"),
        WriteOperation::Put(Body::parse(benches::documents::body(n)).expect("a body")),
    );
    let transaction = LocalTransaction { scope: Scope::default(), writes: vec![write] };
    let began = tokio::time::Instant::now();
    let writer = replicas[0].storage();
    writer.write(environment().now(), transaction).await.expect("it is written");
    for replica in &replicas[1..] {
        let mut statistics = replica.statistics();
        statistics.wait_for(|s| s.pulled >= *written).await.expect("it comes");
    }
    began.elapsed()
}

fn fan_out(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("fan_out");
    group.sample_size(10).throughput(Throughput::Elements(LISTENERS as u64));
    for (name, is_networked) in [("in process", false), ("WebSocket", true)] {
        let server = memory_server().expect("a server");
        let serve = Listening::serve(server);
        let listening = runtime.block_on(serve).expect("a server listens");
        let mut replicas = Vec::new();
        for _ in 0..=LISTENERS {
            let transport: Arc<dyn Transport> = match is_networked {
                true => listening.transport(Way::WebSocket).expect("a transport"),
                false => Arc::new(listening.server.in_process()),
            };
            replicas.push(runtime.block_on(open(transport)));
        }
        let mut written = 0;
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                (0..rounds).map(|_| runtime.block_on(tell(&replicas, &mut written))).sum()
            });
        });
        runtime.block_on(async {
            for replica in replicas {
                replica.stop().await;
                replica.close().await.expect("it closes");
            }
        });
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
