//! Replicas over real sockets whose network fails: every fault, while the replica pushes, catches
//! up, follows or idles, over WebSocket and over HTTP. Each fault hits bytes of that activity, and
//! afterwards nothing is lost and nothing is duplicated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use support::server_with_options;
use testkit::proxy::{Counters, Ending, Once, TcpProxy, Way};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use twotide::backend::model::{Digest, Seq};
use twotide::backend::replica::ReplicaState;
use twotide::backend::transport::Transport;
use twotide::http::{HttpConfig, HttpTransport, ProxyBy};
use twotide::prelude::*;
use twotide::server::{Hooks, Server, ServerOptions};
use twotide::ws::{WsConfig, WsTransport};
use twotide::{RetryPolicy, net, routes};

/// The bound on every wait. It is long because the machine may be slow and busy.
const LONGEST: Duration = Duration::from_secs(30);
/// The interval at which either side of a connection sends something.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// The number of documents that travel in a phase, and their size: far more than heartbeats,
/// greetings and acknowledgements.
const DOCUMENTS: usize = 10;
const BODY_BYTES: usize = 4 << 10;
/// A fault occurs after so many bytes, in the middle of those documents.
const MIDDLE: u64 = 16 << 10;
/// The bandwidth of a throttled network: it carries the documents in about a third of a second.
const BYTES_PER_SECOND: u64 = 128 << 10;

/// The timeouts of connecting and of a request: longer than either takes when throttled.
const CONNECTING: Duration = Duration::from_secs(1);
const REQUEST: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    WebSocket,
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Reset,
    Truncate,
    HalfOpen,
    Refuse,
    Stall,
    Throttle,
    Duplicate,
    Flip,
}

const FAULTS: [Fault; 8] = [
    Fault::Reset,
    Fault::Truncate,
    Fault::HalfOpen,
    Fault::Refuse,
    Fault::Stall,
    Fault::Throttle,
    Fault::Duplicate,
    Fault::Flip,
];

/// The activity of the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Push,
    CatchUp,
    Live,
    Idle,
}

impl Phase {
    /// The direction in which its bytes travel.
    fn way(self) -> Way {
        match self {
            Self::Push => Way::ToServer,
            Self::CatchUp | Self::Live | Self::Idle => Way::ToClient,
        }
    }

    /// The number of its bytes that pass before a fault. An idle replica gets little but
    /// heartbeats.
    fn before(self) -> u64 {
        if self == Self::Idle { 3 } else { MIDDLE }
    }
}

fn transport(over: Over, to: SocketAddr) -> Arc<dyn Transport> {
    match over {
        Over::WebSocket => {
            let mut config = WsConfig::new(format!("ws://{to}"));
            config.connect_timeout = CONNECTING;
            config.framed.greeting_timeout = CONNECTING;
            Arc::new(WsTransport::new(config).unwrap())
        }
        Over::Http => {
            let mut config = HttpConfig::new(format!("http://{to}"));
            config.proxy = ProxyBy::None;
            // Compressed, the documents would be smaller than the bytes before a fault.
            config.compress = false;
            config.connect_timeout = CONNECTING;
            config.request_timeout = REQUEST;
            config.poll_interval = Duration::from_millis(100);
            config.wait = CONNECTING;
            config.fallback.first_bytes = CONNECTING;
            Arc::new(HttpTransport::new(config).unwrap())
        }
    }
}

/// A server, a replica behind a proxy, and another one in the server's process.
struct World {
    server: Server,
    proxy: TcpProxy,
    replica: Replica,
    other: Replica,
    /// All documents that were written.
    written: BTreeMap<String, String>,
}

impl World {
    /// Starts both replicas, and waits until both have one document of each.
    async fn new(over: Over) -> Self {
        let mut options = ServerOptions::default();
        options.heartbeat = HEARTBEAT;
        let server = server_with_options(Hooks::default(), options);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpProxy::start(socket.local_addr().unwrap()).await.unwrap();
        tokio::spawn(net::listen(socket, routes(&server), std::future::pending()));
        let mut retry = RetryPolicy::default();
        retry.first = Duration::from_millis(20);
        retry.ceiling = Duration::from_millis(100);
        let builder = || Replica::builder().memory().retry(retry);
        let by_proxy = transport(over, proxy.address());
        let replica =
            builder().transport(by_proxy).connect_timeout(CONNECTING).request_timeout(REQUEST);
        let replica = replica.open().await.unwrap();
        let other = builder().transport(Arc::new(server.in_process())).open().await.unwrap();
        replica.start().await.unwrap();
        other.start().await.unwrap();
        let mut world = Self { server, proxy, replica, other, written: BTreeMap::new() };
        world.write_both("before").await;
        world.settle().await;
        world
    }

    async fn write(&mut self, by: &Replica, ids: impl Iterator<Item = String>, bytes: usize) {
        let notes = by.raw("notes").unwrap();
        let mut together = by.transaction();
        for id in ids {
            let body = Body::from_value(&format!("{id:x>bytes$}")).unwrap();
            together.put(&notes, &id, &body).unwrap();
            self.written.insert(id, body.as_str().to_owned());
        }
        together.commit().await.unwrap();
    }

    async fn write_both(&mut self, when: &str) {
        for (by, name) in [(self.replica.clone(), "replica"), (self.other.clone(), "other")] {
            self.write(&by, std::iter::once(format!("{when}-{name}")), 1).await;
        }
    }

    async fn write_many(&mut self, by: &Replica) {
        self.write(by, (0..DOCUMENTS).map(|n| format!("many-{n}")), BODY_BYTES).await;
    }

    /// Starts the activity.
    async fn begin(&mut self, phase: Phase) {
        let (replica, other) = (self.replica.clone(), self.other.clone());
        match phase {
            Phase::Push => self.write_many(&replica).await,
            Phase::Live => self.write_many(&other).await,
            Phase::CatchUp => replica.start().await.unwrap(),
            Phase::Idle => {}
        }
    }

    /// Returns the positions of the server and both replicas, and whether no edit waits.
    async fn state(&self) -> ([Option<(Seq, Digest)>; 3], bool) {
        let scope = self.replica.scope();
        let row = self.server.storage().find_scope(scope.clone()).await.unwrap();
        let (ours, theirs) =
            (self.replica.state().await.unwrap(), self.other.state().await.unwrap());
        let came = |s: &ReplicaState| s.scope(scope).map(|of| (of.checkpoint.position, of.digest));
        let settled = ours.outbox(scope).pending + theirs.outbox(scope).pending == 0;
        ([row.map(|r| (r.head, r.digest)), came(&ours), came(&theirs)], settled)
    }

    /// Waits until no edit waits, and all are equal and at the same position.
    async fn settle(&self) {
        let mut commits = (self.replica.storage().commits(), self.other.storage().commits());
        let settled = async {
            loop {
                commits.0.borrow_and_update();
                commits.1.borrow_and_update();
                let ([server, ours, theirs], settled) = self.state().await;
                if settled && server.is_some() && server == ours && server == theirs {
                    return;
                }
                // Every progress is a commit of one of them.
                tokio::select! {
                    moved = commits.0.changed() => moved.unwrap(),
                    moved = commits.1.changed() => moved.unwrap(),
                }
            }
        };
        if tokio::time::timeout(LONGEST, settled).await.is_err() {
            panic!("not equal: {:?}, {:?}", self.state().await, self.replica.status_now());
        }
    }

    async fn seen(&self, condition: impl FnMut(&Counters) -> bool) -> Counters {
        self.proxy.wait_for(LONGEST, condition).await.unwrap()
    }

    /// Asserts that every written document is there once, and nothing else.
    async fn assert_whole(&self) {
        for replica in [&self.replica, &self.other] {
            let page = replica.raw("notes").unwrap().scan(None, 10_000).await.unwrap();
            let shown = page.documents.iter();
            let shown: Vec<_> = shown.map(|d| (d.id(), d.value().as_str())).collect();
            let written = self.written.iter().map(|(id, body)| (id.as_str(), body.as_str()));
            let written: Vec<_> = written.collect();
            // Only the ids: the bodies are long.
            let wrong: Vec<_> =
                shown.iter().filter(|d| !written.contains(d)).map(|d| d.0).collect();
            let (n, of) = (shown.len(), written.len());
            assert!(shown == written, "{n} of {of} documents are there, wrong are {wrong:?}");
        }
        let row = self.server.storage().find_scope(self.replica.scope().clone()).await.unwrap();
        let row = row.unwrap();
        // Each write has one position: a repeated push takes no second one.
        assert_eq!((row.documents, row.head.0), (self.written.len() as u64, row.documents));
    }
}

/// Makes the fault occur during the activity, and heals the network once it was noticed.
async fn fault(world: &mut World, fault: Fault, phase: Phase) {
    let what = match fault {
        Fault::Reset => Once::Cut(Ending::Reset),
        Fault::Truncate => Once::Cut(Ending::Finish),
        Fault::HalfOpen => Once::Silence,
        Fault::Refuse => Once::Refuse,
        Fault::Stall => Once::Stall,
        Fault::Duplicate => Once::Repeat(7),
        Fault::Flip => Once::Flip,
        Fault::Throttle => return throttle(world, phase).await,
    };
    world.proxy.once(phase.way(), phase.before(), what);
    world.begin(phase).await;
    let met = world.seen(|c| c.once == 1).await;
    match fault {
        // The replica connects while connections are refused.
        Fault::Refuse => drop(world.seen(|c| c.refused > 0).await),
        // The replica opens another link: what the old one held back arrives late.
        Fault::Stall => drop(world.seen(|c| c.connections > met.connections).await),
        _ => {}
    }
    world.proxy.pass();
}

/// Asserts that everything arrives while the network is slow.
async fn throttle(world: &mut World, phase: Phase) {
    let delivered = |c: &Counters| match phase.way() {
        Way::ToServer => c.to_server,
        Way::ToClient => c.to_client,
    };
    world.proxy.change(|b| {
        b.to_server.bytes_per_second = Some(BYTES_PER_SECOND);
        b.to_client.bytes_per_second = Some(BYTES_PER_SECOND);
    });
    let (before, began) = (delivered(&world.proxy.counters()), Instant::now());
    world.begin(phase).await;
    world.seen(|c| delivered(c) > before + phase.before()).await;
    world.settle().await;
    if phase != Phase::Idle {
        let least = (DOCUMENTS * BODY_BYTES) as u64 * 1_000 / BYTES_PER_SECOND;
        assert!(began.elapsed() > Duration::from_millis(least * 3 / 4), "{:?}", began.elapsed());
    }
    world.proxy.pass();
}

/// Runs one fault in one phase, and asserts that everything converges afterwards.
async fn one(over: Over, which: Fault, phase: Phase) {
    let mut world = World::new(over).await;
    if phase == Phase::CatchUp {
        world.replica.stop().await;
        let other = world.other.clone();
        world.write_many(&other).await;
        other.wait_until_in_sync().await.unwrap();
    }
    fault(&mut world, which, phase).await;
    world.write_both("after").await;
    world.settle().await;
    world.assert_whole().await;
    let in_sync = tokio::time::timeout(LONGEST, world.replica.wait_until_in_sync()).await;
    in_sync.expect("it is in sync").unwrap();
    world.replica.close().await.unwrap();
    world.other.close().await.unwrap();
}

/// Runs every fault in that phase, all at the same time, each with a separate server.
async fn every_fault(over: Over, phase: Phase) {
    let mut running = JoinSet::new();
    let mut faults = BTreeMap::new();
    for fault in FAULTS {
        faults.insert(running.spawn(one(over, fault, phase)).id(), fault);
    }
    while let Some(done) = running.join_next_with_id().await {
        match done {
            Ok((id, ())) => drop(faults.remove(&id)),
            Err(error) => panic!("{:?} while {phase:?}: {error}", faults[&error.id()]),
        }
    }
    assert!(faults.is_empty(), "{faults:?} did not happen");
}

macro_rules! phases {
    ($over:ident: $($name:ident = $phase:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            every_fault(Over::$over, Phase::$phase).await;
        }
    )*};
}

phases! { WebSocket:
    a_push_over_websocket_outlives_every_fault = Push,
    catching_up_over_websocket_outlives_every_fault = CatchUp,
    following_over_websocket_outlives_every_fault = Live,
    idling_over_websocket_outlives_every_fault = Idle,
}

phases! { Http:
    a_push_over_http_outlives_every_fault = Push,
    catching_up_over_http_outlives_every_fault = CatchUp,
    following_over_http_outlives_every_fault = Live,
    idling_over_http_outlives_every_fault = Idle,
}
