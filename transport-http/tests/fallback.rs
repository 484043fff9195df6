//! Following through gateways that cut, buffer and time out, while another client writes: each
//! change arrives once and in order, in the best way that works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/gateway.rs"]
#[allow(unreachable_pub, reason = "a module of a test")]
mod gateway;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gateway::{Gateway, Habits};
use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_core::error::Result;
use sync_core::model::{
    Body, Change, Collection, Cursor, DocumentId, DocumentState, Limits, PushBatch, PushId,
    ReplicaId, Revision, Scope, Seq, Stamp,
};
use sync_core::protocol::{Hello, Pull};
use sync_core::transport::{Connection, Delivery, Transport};
use sync_server::{Server, ServerOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use transport_http::{HttpConfig, HttpTransport, LiveBy, ProxyBy, router};

/// The bound of every wait.
const LONGEST: Duration = Duration::from_secs(60);

fn hello(replica: u8) -> Hello {
    Hello { agent: "test".to_owned(), ..Hello::new(ReplicaId([replica; 16])) }
}

/// A server on this machine, and a client that writes to it continuously.
struct Busy {
    address: SocketAddr,
    _writer: JoinHandle<()>,
    _serving: JoinHandle<Result<()>>,
}

impl Busy {
    async fn start(pause: Duration) -> Self {
        let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
        let mut options = ServerOptions::default();
        options.heartbeat = Duration::from_millis(300);
        let server = Server::builder(Arc::new(storage)).options(options).build();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let app = router(server.clone());
        let serving = tokio::spawn(transport_kit::listen(socket, app, std::future::pending()));
        let (writer, _) = server.in_process().connect(hello(9)).await.unwrap();
        let writer = tokio::spawn(async move {
            for n in 1.. {
                writer.push(batch(n)).await.unwrap();
                tokio::time::sleep(pause).await;
            }
        });
        Self { address, _writer: writer, _serving: serving }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self._writer.abort();
        self._serving.abort();
    }
}

/// Returns a batch of one document, so that the position counts the batches.
fn batch(n: u64) -> PushBatch {
    let revision = Revision { stamp: Stamp::new(n, 0), replica: ReplicaId([9; 16]) };
    let body = Body::parse(Bytes::from(format!("{{\"n\":{n}}}"))).unwrap();
    let change = Change::new(
        Collection::new("notes").unwrap(),
        DocumentId::new(format!("d{n}")).unwrap(),
        DocumentState::new(revision, Some(body)),
    );
    let replica = ReplicaId([9; 16]);
    PushBatch::new(Scope::default(), replica, PushId(n), vec![change])
}

/// A client that follows live.
struct Follower {
    live: BoxStream<'static, Result<Delivery>>,
    by: watch::Receiver<Option<LiveBy>>,
    seen: u64,
    connection: Arc<dyn Connection>,
    _transport: HttpTransport,
}

impl Follower {
    async fn of(config: HttpConfig) -> Self {
        let transport = HttpTransport::new(config).unwrap();
        let (connection, _) = transport.connect(hello(1)).await.unwrap();
        let pull =
            Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
        let live = connection.live(pull);
        Self { live, by: transport.live_by(), seen: 0, connection, _transport: transport }
    }

    /// Receives one chunk, and asserts that its changes are new and that none is missing.
    async fn take(&mut self) {
        let delivered = tokio::time::timeout(LONGEST, self.live.next()).await;
        let chunk = match delivered.expect("it takes too long").expect("the stream ended") {
            Ok(Delivery::Chunk(chunk)) => chunk,
            other => panic!("{other:?}"),
        };
        assert_eq!(chunk.after, Seq(self.seen));
        for entry in &chunk.entries {
            self.seen += 1;
            assert_eq!(entry.seq, Seq(self.seen), "each change once and in order");
            assert_eq!(entry.id.as_str(), format!("d{}", self.seen));
        }
        assert_eq!(chunk.next, Seq(self.seen));
    }

    async fn take_more(&mut self, changes: u64) {
        let goal = self.seen + changes;
        while self.seen < goal {
            self.take().await;
        }
    }

    /// Receives chunks until they arrive in that way, and have done so for some changes.
    async fn settles_on(&mut self, by: LiveBy) {
        for _ in 0..10_000 {
            if *self.by.borrow() == Some(by) {
                let (mut steady, before) = (true, self.seen);
                while steady && self.seen < before + 100 {
                    self.take().await;
                    steady = *self.by.borrow() == Some(by);
                }
                if steady {
                    return;
                }
            }
            self.take().await;
        }
        panic!("changes come by {:?}", *self.by.borrow());
    }

    async fn link_is_there(&self) {
        let lost = tokio::time::timeout(Duration::from_millis(20), self.connection.lost()).await;
        assert!(lost.is_err(), "the link is not lost");
    }
}

const PAUSE: Duration = Duration::from_millis(2);

/// Returns settings with short times. A higher way is not tried again.
fn quick(gateway: &Gateway) -> HttpConfig {
    let mut config = HttpConfig::new(&gateway.url);
    config.proxy = ProxyBy::None;
    config.poll_interval = Duration::from_millis(30);
    config.wait = Duration::from_secs(1);
    config.fallback.first_bytes = Duration::from_millis(500);
    config.fallback.stream_life = Duration::from_millis(400);
    config.fallback.climb_after = Duration::from_secs(3_600);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_interference_one_stream_delivers_everything() {
    let server = Busy::start(PAUSE).await;
    let gateway = Gateway::start(server.address, Habits::default()).await;
    let mut follower = Follower::of(quick(&gateway)).await;
    follower.take_more(300).await;
    assert_eq!(*follower.by.borrow(), Some(LiveBy::Sse));
    // The greeting, and the stream.
    assert_eq!(gateway.passed().requests, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_cut_are_replaced_by_long_polls() {
    let server = Busy::start(PAUSE).await;
    let habits = Habits { cuts_streams: Some(Duration::from_millis(100)), ..Habits::default() };
    let gateway = Gateway::start(server.address, habits).await;
    let mut follower = Follower::of(quick(&gateway)).await;
    follower.settles_on(LiveBy::LongPoll).await;
    assert_eq!(gateway.passed().streams, 3);
    follower.link_is_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_last_long_enough_are_reopened_whenever_they_are_cut() {
    let server = Busy::start(PAUSE).await;
    let habits = Habits { cuts_streams: Some(Duration::from_millis(600)), ..Habits::default() };
    let gateway = Gateway::start(server.address, habits).await;
    let mut follower = Follower::of(quick(&gateway)).await;
    while gateway.passed().streams < 5 {
        follower.take().await;
        assert_eq!(*follower.by.borrow(), Some(LiveBy::Sse));
    }
    follower.link_is_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buffered_streams_are_replaced_by_long_polls_at_once() {
    let server = Busy::start(PAUSE).await;
    let habits = Habits { collects_streams: true, ..Habits::default() };
    let gateway = Gateway::start(server.address, habits).await;
    let mut follower = Follower::of(quick(&gateway)).await;
    follower.take_more(300).await;
    assert_eq!(*follower.by.borrow(), Some(LiveBy::LongPoll));
    assert_eq!(gateway.passed().streams, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_polls_that_time_out_are_replaced_by_polls() {
    // Rarely enough that requests do wait.
    let server = Busy::start(Duration::from_millis(150)).await;
    let patience = Some(Duration::from_millis(40));
    let habits = Habits { collects_streams: true, patience, ..Habits::default() };
    let gateway = Gateway::start(server.address, habits).await;
    let mut config = quick(&gateway);
    config.wait = Duration::from_secs(8);
    let mut follower = Follower::of(config).await;
    while *follower.by.borrow() != Some(LiveBy::Poll) {
        follower.take().await;
    }
    follower.take_more(20).await;
    assert_eq!(*follower.by.borrow(), Some(LiveBy::Poll));
    let given_up = gateway.passed().given_up;
    assert!((3..=20).contains(&given_up), "{given_up}");
    follower.link_is_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_arrives_once_whatever_a_gateway_does() {
    let server = Busy::start(PAUSE).await;
    let gateway = Gateway::start(server.address, Habits::default()).await;
    let mut config = quick(&gateway);
    config.fallback.climb_after = Duration::from_millis(300);
    let mut follower = Follower::of(config).await;
    follower.settles_on(LiveBy::Sse).await;
    let cuts = Habits { cuts_streams: Some(Duration::from_millis(60)), ..Habits::default() };
    let collects =
        Habits { collects_streams: true, cuts_streams: cuts.cuts_streams, patience: None };
    let patience = Some(Duration::from_millis(1));
    for bad in [cuts, collects, Habits { patience, ..collects }] {
        gateway.habits.send_replace(bad);
        while *follower.by.borrow() == Some(LiveBy::Sse) {
            follower.take().await;
        }
        follower.take_more(100).await;
        gateway.habits.send_replace(Habits::default());
        follower.settles_on(LiveBy::Sse).await;
    }
    follower.link_is_there().await;
}

/// In real time, and with the default settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_continues_over_streams_that_are_cut_after_ten_seconds() {
    let server = Busy::start(Duration::from_millis(20)).await;
    let habits = Habits { cuts_streams: Some(Duration::from_secs(10)), ..Habits::default() };
    let gateway = Gateway::start(server.address, habits).await;
    let mut config = HttpConfig::new(&gateway.url);
    config.proxy = ProxyBy::None;
    let mut follower = Follower::of(config).await;
    while gateway.passed().streams < 2 {
        follower.take().await;
    }
    follower.take_more(50).await;
    assert_eq!(*follower.by.borrow(), Some(LiveBy::Sse));
    follower.link_is_there().await;
}
