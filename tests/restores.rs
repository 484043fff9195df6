//! Random runs over real sockets, in which the server's process ends and another one continues with
//! its data, or with a backup of it. Replicas that follow over WebSocket and in each way over HTTP
//! agree afterwards, nothing that was written is lost, and none sends requests without a pause.
//!
//! `TWOTIDE_TEST_RESTORES=0..100` runs these seeds, one after the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use testkit::proxy::TcpProxy;
use testkit::random::SplitMix64;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use twotide::backend::kv::{KvOptions, MemoryKv, open_server};
use twotide::backend::model::{Epoch, Scope};
use twotide::backend::transport::Transport;
use twotide::http::{HttpConfig, HttpTransport, LiveBy, ProxyBy};
use twotide::prelude::*;
use twotide::server::record::ServerScope;
use twotide::server::{Hooks, Server, ServerOptions};
use twotide::ws::{WsConfig, WsTransport};
use twotide::{RetryPolicy, net, routes};

/// How long it may take until all agree; the machine may be slow and busy.
const AGREEMENT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);
/// How long the traffic is counted after all agree.
const QUIET: Duration = Duration::from_secs(2);
/// The bytes that a replica may send in that time: heartbeats, and a request every [`SHORT`] with
/// its headers. A replica that sends requests without a pause sends a hundred times as much.
const QUIET_BYTES: u64 = 32 << 10;
const STEPS: usize = 14;

/// How the replicas of a run follow.
const WAYS: [Option<LiveBy>; 4] =
    [None, Some(LiveBy::Sse), Some(LiveBy::LongPoll), Some(LiveBy::Poll)];

fn transport(way: Option<LiveBy>, to: SocketAddr) -> Arc<dyn Transport> {
    let Some(live) = way else {
        return Arc::new(WsTransport::new(WsConfig::new(format!("ws://{to}"))).unwrap());
    };
    let mut config = HttpConfig::new(format!("http://{to}"));
    config.proxy = ProxyBy::None;
    config.live = live;
    config.poll_interval = SHORT;
    Arc::new(HttpTransport::new(config).unwrap())
}

/// The server's data, its newest backup, and the running process.
struct Site {
    address: SocketAddr,
    kv: Arc<MemoryKv>,
    backup: MemoryKv,
    epochs: u8,
    running: Option<(Server, oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Site {
    async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kv = Arc::new(MemoryKv::default());
        let address = socket.local_addr().unwrap();
        let backup = kv.copy();
        let mut site = Self { address, kv, backup, epochs: 0, running: None };
        site.serve(socket);
        site
    }

    fn serve(&mut self, socket: TcpListener) {
        let storage = open_server(Arc::clone(&self.kv), KvOptions::default()).unwrap();
        let mut options = ServerOptions::default();
        options.heartbeat = SHORT * 2;
        let hooks = Hooks::default();
        let server = Server::builder(Arc::new(storage)).hooks(hooks).options(options).build();
        let (stop, stopped) = oneshot::channel();
        let all = routes(&server);
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            net::listen(socket, all, stopped).await.unwrap();
        });
        self.running = Some((server, stop, serving));
    }

    async fn stop(&mut self) {
        let (server, stop, serving) = self.running.take().unwrap();
        server.drain();
        drop(stop);
        serving.await.unwrap();
    }

    async fn row(&self) -> Option<ServerScope> {
        let (server, ..) = self.running.as_ref().unwrap();
        server.storage().find_scope(Scope::default()).await.unwrap()
    }

    /// Ends the process and starts another one.
    async fn restart(&mut self) {
        self.stop().await;
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    /// Ends the process and starts another one with the newest backup.
    async fn restore(&mut self, announced: bool) {
        self.stop().await;
        self.kv = Arc::new(self.backup.copy());
        let socket = TcpListener::bind(self.address).await.unwrap();
        self.serve(socket);
        if let Some(row) = self.row().await.filter(|_| announced) {
            self.epochs += 1;
            let (server, ..) = self.running.as_ref().unwrap();
            let fresh = Epoch([self.epochs; 16]);
            let begun = server.storage().begin_epoch(Scope::default(), row.epoch, row.head, fresh);
            begun.await.unwrap();
        }
    }
}

/// A replica behind a proxy that counts what it sends.
struct Device {
    way: Option<LiveBy>,
    replica: Replica,
    proxy: TcpProxy,
    runs: bool,
}

impl Device {
    async fn new(way: Option<LiveBy>, server: SocketAddr) -> Self {
        let proxy = TcpProxy::start(server).await.unwrap();
        let mut retry = RetryPolicy::default();
        (retry.first, retry.ceiling) = (Duration::from_millis(50), Duration::from_secs(1));
        let builder = Replica::builder().memory().retry(retry);
        let replica = builder.transport(transport(way, proxy.address())).open().await.unwrap();
        replica.start().await.unwrap();
        Self { way, replica, proxy, runs: true }
    }

    async fn disagreement(&self, row: &ServerScope) -> Option<String> {
        let state = self.replica.state().await.unwrap();
        let Some(own) = state.scope(self.replica.scope()) else { return Some("nothing".into()) };
        let waits = own.outbox != Default::default();
        let theirs = (row.head, row.documents, row.digest);
        let ours = (own.checkpoint.position, own.documents, own.digest);
        (waits || ours != theirs).then(|| format!("{:?}: {ours:?}, {:?}", self.way, own.outbox))
    }
}

struct Run {
    site: Site,
    devices: Vec<Device>,
    written: BTreeSet<String>,
}

impl Run {
    async fn step(&mut self, random: &mut SplitMix64) {
        let at = random.below(self.devices.len());
        let Device { replica, runs, .. } = &mut self.devices[at];
        match random.below(10) {
            0..5 => {
                let notes = replica.raw("notes").unwrap();
                let id = format!("n{}", self.written.len());
                notes.put(&id, &Body::from_value(&id).unwrap()).await.unwrap();
                self.written.insert(id);
            }
            5 => {
                match std::mem::replace(runs, !*runs) {
                    true => replica.stop().await,
                    false => replica.start().await.unwrap(),
                };
            }
            6 => self.site.backup = self.site.kv.copy(),
            7 => self.site.restart().await,
            8 => self.site.restore(true).await,
            _ => self.site.restore(false).await,
        }
        sleep(Duration::from_millis(random.next_u64() % 150)).await;
    }

    async fn disagreement(&self) -> Option<String> {
        let Some(row) = self.site.row().await else { return Some("the server is empty".into()) };
        for device in &self.devices {
            if let Some(why) = device.disagreement(&row).await {
                return Some(format!("the server is at {}, {why}", row.head));
            }
        }
        None
    }

    async fn agree(&self) {
        let began = Instant::now();
        while let Some(why) = self.disagreement().await {
            assert!(began.elapsed() < AGREEMENT, "no agreement: {why}");
            sleep(SHORT / 4).await;
        }
    }

    async fn judge(&self) {
        self.agree().await;
        for Device { way, replica, .. } in &self.devices {
            let page = replica.raw("notes").unwrap().scan(None, 10_000).await.unwrap();
            let shown: BTreeSet<_> = page.documents.iter().map(|d| d.id().to_owned()).collect();
            assert_eq!(shown, self.written, "{way:?}");
        }
        let sent = || self.devices.iter().map(|d| d.proxy.counters().to_server);
        let before: Vec<u64> = sent().collect();
        sleep(QUIET).await;
        for ((before, after), device) in before.iter().zip(sent()).zip(&self.devices) {
            let (bytes, way) = (after - before, device.way);
            assert!(bytes < QUIET_BYTES, "{way:?} sent {bytes} bytes although nothing happened");
        }
        self.agree().await;
    }
}

async fn run(seed: u64) {
    let mut random = SplitMix64::of(seed, 0);
    let site = Site::start().await;
    let mut devices = Vec::new();
    for way in WAYS {
        devices.push(Device::new(way, site.address).await);
    }
    let mut run = Run { site, devices, written: BTreeSet::new() };
    for _ in 0..STEPS {
        run.step(&mut random).await;
    }
    for device in &run.devices {
        let notes = device.replica.raw("notes").unwrap();
        let id = format!("last{:?}", device.way);
        notes.put(&id, &Body::from_value(&id).unwrap()).await.unwrap();
        run.written.insert(id);
        device.replica.start().await.unwrap();
    }
    run.judge().await;
    run.site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_restarts_and_restores_all_agree_and_nothing_is_lost() {
    let seeds = std::env::var("TWOTIDE_TEST_RESTORES").unwrap_or_else(|_| "0..4".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        let run = tokio::spawn(run(seed));
        assert!(run.await.is_ok(), "seed {seed}");
    }
}
