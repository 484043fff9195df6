//! The server of the tests: a script over `Wire`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{
    Body, Change, Chunk, Collection, Cursor, DocumentId, DocumentState, Epoch, Limits, LogEntry,
    PushBatch, PushId, ReplicaId, Revision, Scope, Seq, Stamp, Verdict, VerdictKind, Verdicts,
};
use sync_core::protocol::{Hello, Message, Pull, Welcome};
use sync_core::transport::{Connection, FrameLink, Transport};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use transport_kit::framed::{MAX_PAYLOAD, Wire, pick};
use transport_kit::listen;
use transport_ws::{
    LinkHandler, PeerInfo, WsConfig, WsServerConfig, WsTransport, Zstd, router_with,
};

/// Runs a future that must complete soon.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

/// The server's end of a connection.
pub(crate) struct Served {
    pub(crate) link: FrameLink,
    pub(crate) wire: Wire,
    /// The length of the last frame.
    pub(crate) length: usize,
}

impl Served {
    pub(crate) async fn try_hear(&mut self) -> Result<(u32, Message)> {
        let gone = || Err(Error::new(ErrorKind::Network, "the client is gone"));
        let frame = self.link.incoming.next().await.unwrap_or_else(gone)?;
        self.length = frame.len();
        self.wire.decode(frame)
    }

    pub(crate) async fn hear(&mut self) -> (u32, Message) {
        self.try_hear().await.unwrap()
    }

    pub(crate) async fn say(&mut self, stream: u32, message: &Message) {
        let frame = self.wire.encode(stream, message);
        self.link.outgoing.send(frame).await.unwrap();
    }

    /// Receives the greeting, and answers it, with zstd if that is offered.
    pub(crate) async fn greet(&mut self) {
        let (0, Message::Hello(hello)) = self.hear().await else { panic!("no greeting") };
        let compression = pick(&[Arc::new(Zstd)], &hello.compressions);
        let welcome = Welcome {
            compression: compression.as_ref().map(|c| c.name().to_owned()),
            ..Welcome::new(0)
        };
        self.say(0, &Message::Welcome(welcome)).await;
        self.link.admission = None;
        self.wire.set_compression(compression);
    }
}

/// Passes every link to the test.
pub(crate) struct Doorman(
    pub(crate) mpsc::UnboundedSender<(Served, PeerInfo, oneshot::Sender<()>)>,
);

impl LinkHandler for Doorman {
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()> {
        let (done, wait) = oneshot::channel();
        let served = Served { link, wire: Wire::new(MAX_PAYLOAD), length: 0 };
        let _ = self.0.send((served, peer, done));
        async move { wait.await.unwrap_or(()) }.boxed()
    }
}

/// The pause between two polls.
pub(crate) const SHORT: Duration = Duration::from_millis(2);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) links: mpsc::UnboundedReceiver<(Served, PeerInfo, oneshot::Sender<()>)>,
    pub(crate) places: Vec<oneshot::Sender<()>>,
}

impl Server {
    pub(crate) async fn start_with(config: WsServerConfig) -> Self {
        let (tell, links) = mpsc::unbounded_channel();
        let address = serve(router_with(Doorman(tell), config)).await;
        Self { address, links, places: Vec::new() }
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(WsServerConfig::default()).await
    }

    pub(crate) fn config(&self) -> WsConfig {
        WsConfig::new(format!("ws://{}", self.address))
    }

    /// Returns the next link; its place is taken until the server is dropped.
    pub(crate) async fn link(&mut self) -> Served {
        let (served, _, place) = self.links.recv().await.unwrap();
        self.places.push(place);
        served
    }

    pub(crate) async fn connected(&mut self, config: WsConfig) -> (Arc<dyn Connection>, Served) {
        let transport = WsTransport::new(config).unwrap();
        let serving = async {
            let mut served = self.link().await;
            served.greet().await;
            served
        };
        let (connected, served) =
            within(async { tokio::join!(transport.connect(hello()), serving) }).await;
        (connected.unwrap().0, served)
    }
}

pub(crate) async fn serve(app: Router) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(listen(socket, app, std::future::pending()));
    address
}

pub(crate) fn hello() -> Hello {
    Hello { agent: "test".to_owned(), ..Hello::new(ReplicaId([1; 16])) }
}

pub(crate) fn pull() -> Pull {
    Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK }
}

pub(crate) fn state(body: &str) -> DocumentState {
    let revision = Revision { stamp: Stamp::new(9, 0), replica: ReplicaId([1; 16]) };
    let body = Some(Body::parse(body.to_owned()).unwrap());
    DocumentState::new(revision, body)
}

pub(crate) fn chunk(after: u64, body: &str) -> Chunk {
    Chunk {
        next: Seq(after + 1),
        head: Seq(after + 1),
        entries: vec![LogEntry::new(
            Seq(after + 1),
            Collection::new("notes").unwrap(),
            DocumentId::new("ü").unwrap(),
            state(body),
        )],
        ..Chunk::empty(Scope::default(), Epoch([2; 16]), Seq(after))
    }
}

pub(crate) fn batch(body: &str) -> PushBatch {
    PushBatch::new(
        Scope::default(),
        ReplicaId([1; 16]),
        PushId(1),
        vec![Change::new(
            Collection::new("notes").unwrap(),
            DocumentId::new("ü").unwrap(),
            state(body),
        )],
    )
}

pub(crate) fn accepted() -> Verdicts {
    let verdict = Verdict { seq: Seq(1), kind: VerdictKind::Accepted, current: None };
    Verdicts::Decided { epoch: Epoch([2; 16]), mark: None, verdicts: vec![verdict] }
}

pub(crate) fn text(bytes: usize) -> String {
    format!("\"{}\"", "the same again ".repeat(bytes / 15))
}

pub(crate) async fn refused(config: WsConfig) -> Error {
    within(WsTransport::new(config).unwrap().connect(hello())).await.unwrap_err()
}
