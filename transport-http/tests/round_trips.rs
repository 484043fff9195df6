//! The number of requests that a replica needs to sync.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "support/gateway.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of several tests")]
mod gateway;

use std::sync::Arc;
use std::time::Duration;

use gateway::{Gateway, Habits};
use storage_kit::kv::{KvOptions, MemoryKv, open_replica, open_server};
use sync_core::driver::{Driver, DriverOptions, Parts, Unobserved};
use sync_core::engine::{Goal, Phase};
use sync_core::environment::{Environment, System};
use sync_core::model::{Body, Collection, DocumentId, ReplicaId, Scope, Seq};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;
use sync_server::{Hooks, Server, ServerOptions};
use testkit::proxy::TcpProxy;
use tokio::net::TcpListener;
use tokio::time::Instant;
use transport_http::{HttpConfig, HttpTransport, ProxyBy, router};

/// Syncs once, and returns the number of requests.
async fn sync(driver: &Driver, gateway: &Gateway) -> usize {
    let before = gateway.passed().requests;
    let run = driver.run(Goal::ONCE).await.unwrap();
    let mut status = driver.status();
    let done = status.wait_for(|s| s.runs >= run && s.progress.phase == Phase::InSync);
    drop(tokio::time::timeout(Duration::from_secs(30), done).await.expect("it takes too long"));
    gateway.passed().requests - before
}

async fn drive(storage: &Arc<dyn Storage>, gateway: &Gateway) -> Driver {
    let mut config = HttpConfig::new(&gateway.url);
    config.proxy = ProxyBy::None;
    let parts = Parts {
        storage: Arc::clone(storage),
        transport: Arc::new(HttpTransport::new(config).unwrap()),
        environment: Arc::new(System),
        observer: Arc::new(Unobserved),
    };
    Driver::start(parts, DriverOptions::default()).await.unwrap()
}

fn write(n: u32) -> LocalTransaction {
    let body = Body::parse(format!("{{\"n\":{n}}}")).unwrap();
    let write = LocalWrite::new(
        Collection::new("notes").unwrap(),
        DocumentId::new(format!("d{n}")).unwrap(),
        WriteOperation::Insert(body),
    );
    LocalTransaction { scope: Scope::default(), writes: vec![write] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_without_news_is_one_request() {
    let rows = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let (hooks, options) = (Hooks::default(), ServerOptions::default());
    let server = Server::builder(Arc::new(rows)).hooks(hooks).options(options).build();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(transport_kit::listen(socket, router(server), std::future::pending()));
    let gateway = Gateway::start(address, Habits::default()).await;
    let open =
        |id| open_replica(Arc::new(MemoryKv::default()), ReplicaId([id; 16]), KvOptions::default());
    let (one, two): (Arc<dyn Storage>, Arc<dyn Storage>) =
        (Arc::new(open(1).unwrap()), Arc::new(open(2).unwrap()));
    for n in 0..3 {
        one.write(System.now(), write(n)).await.unwrap();
    }
    let first = drive(&one, &gateway).await;
    sync(&first, &gateway).await;
    first.stop().await;
    let second = drive(&two, &gateway).await;
    assert_eq!(sync(&second, &gateway).await, 3, "the greeting, a chunk, and the acknowledgement");
    // A call on an open connection requests the current state.
    assert_eq!(sync(&second, &gateway).await, 1, "a condition");
    second.stop().await;
    for _ in 0..3 {
        let again = drive(&two, &gateway).await;
        let began = Instant::now();
        assert_eq!(sync(&again, &gateway).await, 1, "the greeting, which acknowledges");
        println!("a sync without news took {:?}", began.elapsed());
        again.stop().await;
    }
    // New changes are found all the same.
    one.write(System.now(), write(9)).await.unwrap();
    let first = drive(&one, &gateway).await;
    sync(&first, &gateway).await;
    first.stop().await;
    let again = drive(&two, &gateway).await;
    assert_eq!(sync(&again, &gateway).await, 3);
    let at = two.state().await.unwrap().checkpoint(&Scope::default()).position;
    assert_eq!(at, Seq(4));
}

#[tokio::test]
async fn requests_one_after_another_share_a_connection() {
    let rows = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let server = Server::builder(Arc::new(rows)).build();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TcpProxy::start(socket.local_addr().unwrap()).await.unwrap();
    tokio::spawn(transport_kit::listen(socket, router(server), std::future::pending()));
    let mut config = HttpConfig::new(format!("http://{}", proxy.address()));
    config.proxy = ProxyBy::None;
    let transport = Arc::new(HttpTransport::new(config).unwrap());
    let storage =
        open_replica(Arc::new(MemoryKv::default()), ReplicaId([1; 16]), KvOptions::default());
    let storage: Arc<dyn Storage> = Arc::new(storage.unwrap());
    let parts = Parts {
        storage: Arc::clone(&storage),
        transport,
        environment: Arc::new(System),
        observer: Arc::new(Unobserved),
    };
    let driver = Driver::start(parts, DriverOptions::default()).await.unwrap();
    let (before, mut status) = (storage.state().await.unwrap(), driver.status());
    assert_eq!(before.checkpoint(&Scope::default()).position, Seq(0));
    for n in 0..5 {
        storage.write(System.now(), write(n)).await.unwrap();
        let run = driver.run(Goal::ONCE).await.unwrap();
        let done = status.wait_for(|s| s.runs >= run && s.progress.phase == Phase::InSync);
        drop(tokio::time::timeout(Duration::from_secs(30), done).await.expect("it takes too long"));
    }
    // A pull and the first push are sent at the same time.
    let connections = proxy.counters().connections;
    assert!(connections <= 2, "{connections} connections for some fifteen requests");
}
