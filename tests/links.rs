//! Replicas over real sockets on links that are slow, that break after some bytes, or that reject
//! large messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use support::server_with_options;
use testkit::proxy::TcpProxy;
use tokio::net::TcpListener;
use twotide::backend::model::RejectionCode;
use twotide::backend::transport::Transport;
use twotide::http::{HttpConfig, HttpServerConfig, HttpTransport, ProxyBy};
use twotide::prelude::*;
use twotide::server::{Hooks, Server, ServerOptions};
use twotide::ws::{WsConfig, WsServerConfig, WsTransport};
use twotide::{RetryPolicy, net};

/// The bound on every wait. It is long because the machine may be slow and busy.
const LONGEST: Duration = Duration::from_secs(60);
/// The interval at which either side of a connection sends something: three of them are far less
/// than a slow body takes.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// How long a request may make no progress.
const REQUEST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    WebSocket,
    Http,
}

const BOTH: [Over; 2] = [Over::WebSocket, Over::Http];

fn transport(over: Over, to: SocketAddr) -> Arc<dyn Transport> {
    match over {
        Over::WebSocket => Arc::new(WsTransport::new(WsConfig::new(format!("ws://{to}"))).unwrap()),
        Over::Http => {
            let mut config = HttpConfig::new(format!("http://{to}"));
            config.proxy = ProxyBy::None;
            config.compress = false;
            config.request_timeout = REQUEST;
            Arc::new(HttpTransport::new(config).unwrap())
        }
    }
}

/// A server behind a proxy, which accepts messages up to that size.
async fn world(largest: usize) -> (Server, TcpProxy) {
    let mut options = ServerOptions::default();
    options.heartbeat = HEARTBEAT;
    let server = server_with_options(Hooks::default(), options);
    let mut http = HttpServerConfig::default();
    http.body_bytes = Some(largest);
    http.request_time = REQUEST;
    let mut ws = WsServerConfig::default();
    ws.max_payload = largest;
    let routes = twotide::ws::router_with(server.clone(), ws)
        .merge(twotide::http::router_with(server.clone(), http));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TcpProxy::start(socket.local_addr().unwrap()).await.unwrap();
    tokio::spawn(net::listen(socket, routes, std::future::pending()));
    (server, proxy)
}

async fn replica(over: Over, proxy: &TcpProxy) -> Replica {
    let mut retry = RetryPolicy::default();
    (retry.first, retry.ceiling) = (Duration::from_millis(20), Duration::from_millis(200));
    let builder = Replica::builder().memory().retry(retry).max_failures(50);
    let builder = builder.transport(transport(over, proxy.address()));
    builder.connect_timeout(Duration::from_secs(5)).request_timeout(REQUEST).open().await.unwrap()
}

/// A text that does not compress.
fn noise(bytes: usize, seed: u64) -> Body {
    let mut state = seed;
    let text: String = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
        })
        .collect();
    Body::from_value(&text).unwrap()
}

async fn put(replica: &Replica, id: &str, body: &Body) {
    replica.raw("notes").unwrap().put(id, body).await.unwrap();
}

async fn documents(server: &Server, of: &Replica) -> u64 {
    let row = server.storage().find_scope(of.scope().clone()).await.unwrap();
    row.map_or(0, |row| row.documents)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONGEST, what).await.expect("it takes too long")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_large_document_arrives_both_ways_however_slow_the_link_is() {
    for over in BOTH {
        let (server, proxy) = world(16 << 20).await;
        proxy.change(|b| {
            b.to_server.bytes_per_second = Some(60 << 10);
            b.to_client.bytes_per_second = Some(60 << 10);
        });
        let (ann, ben) = (replica(over, &proxy).await, replica(over, &proxy).await);
        let body = noise(240 << 10, 1);
        put(&ann, "large", &body).await;
        within(ann.sync_now()).await.unwrap();
        assert_eq!(documents(&server, &ann).await, 1, "{over:?}");
        within(ben.sync_now()).await.unwrap();
        let found = ben.raw("notes").unwrap().get("large").await.unwrap().unwrap();
        assert!(*found.value() == body, "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_does_not_download_what_it_pushed() {
    for over in BOTH {
        let (server, proxy) = world(16 << 20).await;
        let (ann, ben) = (replica(over, &proxy).await, replica(over, &proxy).await);
        for n in 0..100 {
            put(&ann, &format!("{n}"), &noise(5_000, n)).await;
        }
        within(ann.sync_now()).await.unwrap();
        for n in 0..100 {
            put(&ann, &format!("{n}"), &noise(5_000, n + 100)).await;
        }
        within(ann.sync_now()).await.unwrap();
        within(ann.sync_now()).await.unwrap();
        let pushed = proxy.counters();
        assert_eq!(documents(&server, &ann).await, 100, "{over:?}");
        assert!(pushed.to_server > 1_000_000, "{over:?}: {pushed:?}");
        assert!(pushed.to_client < 60_000, "{over:?}: {pushed:?}");
        within(ben.sync_now()).await.unwrap();
        let pulled = proxy.counters().to_client - pushed.to_client;
        assert!(pulled > 500_000, "another replica needs the bodies, {over:?}: {pulled}");
        for n in 0..100 {
            let (id, expected) = (format!("{n}"), noise(5_000, n + 100));
            for replica in [&ann, &ben] {
                let held = replica.raw("notes").unwrap().get(&id).await.unwrap().unwrap();
                assert!(*held.value() == expected, "{over:?}: {id}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_documents_pass_links_that_break_after_some_bytes() {
    for over in BOTH {
        let (server, proxy) = world(16 << 20).await;
        let (ann, ben) = (replica(over, &proxy).await, replica(over, &proxy).await);
        for n in 0..60 {
            put(&ann, &format!("{n}"), &noise(2_000, n)).await;
        }
        // Less than all documents, which would be one batch.
        proxy.change(|b| b.to_server.cut_after = Some(48 << 10));
        let _ = within(ann.sync_now()).await;
        let pushed = within(ann.sync_now()).await;
        assert!(pushed.is_ok(), "{over:?}: {pushed:?}, {:?}", ann.status_now());
        assert_eq!(documents(&server, &ann).await, 60, "{over:?}");
        proxy.change(|b| {
            b.to_server.cut_after = None;
            b.to_client.cut_after = Some(48 << 10);
        });
        let pulled = within(ben.sync_now()).await;
        assert!(pulled.is_ok(), "{over:?}: {pulled:?}, {:?}", ben.status_now());
        let page = ben.raw("notes").unwrap().scan(None, 100).await.unwrap();
        assert_eq!(page.documents.len(), 60, "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_too_large_for_the_link_is_refused_and_the_others_arrive() {
    for over in BOTH {
        let (server, proxy) = world(64 << 10).await;
        let ann = replica(over, &proxy).await;
        for n in 0..50 {
            put(&ann, &format!("before-{n}"), &noise(2_000, n)).await;
        }
        put(&ann, "large", &noise(100 << 10, 7)).await;
        for n in 0..50 {
            put(&ann, &format!("after-{n}"), &noise(2_000, n)).await;
        }
        within(ann.sync_now()).await.unwrap();
        assert_eq!(documents(&server, &ann).await, 100, "{over:?}");
        let refused = ann.quarantine().list(None, 10).await.unwrap().entries;
        assert_eq!(refused.len(), 1, "{over:?}");
        let rejection = &refused[0].rejection;
        assert_eq!(rejection.code, RejectionCode::TooLarge, "{over:?}");
        assert!(
            rejection.reason.contains("limit") || rejection.reason.contains("large"),
            "{rejection:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_never_passes_ends_a_sync_and_is_not_repeated_without_a_pause() {
    for over in BOTH {
        let (_server, proxy) = world(16 << 20).await;
        let mut retry = RetryPolicy::default();
        retry.first = Duration::from_millis(100);
        let builder = Replica::builder().memory().retry(retry).max_failures(4);
        let ann = builder.transport(transport(over, proxy.address())).open().await.unwrap();
        within(ann.sync_now()).await.unwrap();
        proxy.change(|b| b.to_server.cut_after = Some(4_000));
        put(&ann, "x", &noise(20_000, 3)).await;
        let before = proxy.counters().connections;
        let error = within(ann.sync_now()).await.unwrap_err();
        let connections = proxy.counters().connections - before;
        assert!(connections <= 20, "{over:?}: {connections} connections, {error}");
    }
}
