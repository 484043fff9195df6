//! Replicas over real sockets whose network fails: every fault, while the replica pushes, catches
//! up, follows or idles, over WebSocket and over HTTP. Each fault has met bytes of what was going
//! on, and afterwards nothing is lost and nothing doubled.

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

/// Nothing here may take longer; the machine may be slow and busy.
const LONGEST: Duration = Duration::from_secs(30);
/// How often either side of a connection says something.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// Documents that travel in a phase, and how large they are: far more than heartbeats, greetings
/// and acknowledgements.
const DOCUMENTS: usize = 10;
const BODY_BYTES: usize = 4 << 10;
/// A fault comes after so many bytes, in the middle of those documents.
const MIDDLE: u64 = 16 << 10;
/// What a throttled network carries: the documents in about a third of a second.
const BYTES_PER_SECOND: u64 = 128 << 10;

/// How long connecting may take, and how long a request: more than a throttled one does.
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

/// What the replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Push,
    CatchUp,
    Live,
    Idle,
}

impl Phase {
    /// Which way its bytes go.
    fn way(self) -> Way {
        match self {
            Self::Push => Way::ToServer,
            Self::CatchUp | Self::Live | Self::Idle => Way::ToClient,
        }
    }

    /// How many of its bytes pass before a fault. One who idles gets little but heartbeats.
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
            // The documents would shrink to less than a fault waits for.
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
    /// Everything that was ever written.
    written: BTreeMap<String, String>,
}

impl World {
    /// Both replicas are started and know of one document of each.
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

    /// The replica begins to do that.
    async fn begin(&mut self, phase: Phase) {
        let (replica, other) = (self.replica.clone(), self.other.clone());
        match phase {
            Phase::Push => self.write_many(&replica).await,
            Phase::Live => self.write_many(&other).await,
            Phase::CatchUp => replica.start().await.unwrap(),
            Phase::Idle => {}
        }
    }

    /// How far the server and both replicas came, and whether nothing waits.
    async fn state(&self) -> ([Option<(Seq, Digest)>; 3], bool) {
        let scope = self.replica.scope();
        let row = self.server.storage().find_scope(scope.clone()).await.unwrap();
        let (ours, theirs) =
            (self.replica.state().await.unwrap(), self.other.state().await.unwrap());
        let came = |s: &ReplicaState| s.scope(scope).map(|of| (of.checkpoint.position, of.digest));
        let settled = ours.outbox(scope).pending + theirs.outbox(scope).pending == 0;
        ([row.map(|r| (r.head, r.digest)), came(&ours), came(&theirs)], settled)
    }

    /// Waits until nothing waits any more and all are equal and as far.
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
                // Whatever brings them closer is a commit of one of them.
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

    /// Everything that was written is there once, and nothing else.
    async fn assert_whole(&self) {
        for replica in [&self.replica, &self.other] {
            let page = replica.raw("notes").unwrap().scan(None, 10_000).await.unwrap();
            let shown = page.documents.iter();
            let shown: Vec<_> = shown.map(|d| (d.id(), d.value().as_str())).collect();
            let written = self.written.iter().map(|(id, body)| (id.as_str(), body.as_str()));
            let written: Vec<_> = written.collect();
            // Their bodies are long.
            let wrong: Vec<_> =
                shown.iter().filter(|d| !written.contains(d)).map(|d| d.0).collect();
            let (n, of) = (shown.len(), written.len());
            assert!(shown == written, "{n} of {of} documents are there, wrong are {wrong:?}");
        }
        let row = self.server.storage().find_scope(self.replica.scope().clone()).await.unwrap();
        let row = row.unwrap();
        // Each write has one position: what was pushed again did not count again.
        assert_eq!((row.documents, row.head.0), (self.written.len() as u64, row.documents));
    }
}

/// Makes the fault happen while the replica does that, and heals the network when it was noticed.
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
        // It knocks while nobody is there.
        Fault::Refuse => drop(world.seen(|c| c.refused > 0).await),
        // It gives the old link up and tries another one: what waits then comes late.
        Fault::Stall => drop(world.seen(|c| c.connections > met.connections).await),
        _ => {}
    }
    world.proxy.pass();
}

/// Everything arrives while the network is slow.
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

/// One fault in one phase, and that everything is well afterwards.
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

/// Every fault in that phase, all at the same time, each with a server of its own.
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
