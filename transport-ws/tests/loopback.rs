//! Client and server over real sockets on this machine. The server is a script over `Wire`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message as WsMessage, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::routing::any;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{
    Body, Change, Chunk, Collection, Cursor, DocumentId, DocumentState, Epoch, Limits, LogEntry,
    PushBatch, PushId, ReplicaId, Reset, ResetReason, Revision, Scope, Seq, Stamp, Verdict,
    VerdictKind, Verdicts,
};
use sync_core::protocol::{Ack, Goodbye, Hello, Message, Pull, Welcome};
use sync_core::transport::{Connection, Delivery, FrameLink, Transport};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use transport_kit::framed::{MAX_PAYLOAD, Wire, pick};
use transport_kit::{listen, listen_tls};
use transport_ws::tls::{Trust, server_config};
use transport_ws::{
    LinkHandler, PATH, PeerInfo, SUBPROTOCOL, WsConfig, WsServerConfig, WsTransport, Zstd, router,
    router_with,
};

/// Runs a future that must complete soon.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

/// The server's end of a connection.
struct Served {
    link: FrameLink,
    wire: Wire,
    /// The length of the last frame.
    length: usize,
}

impl Served {
    async fn try_hear(&mut self) -> Result<(u32, Message)> {
        let gone = || Err(Error::new(ErrorKind::Network, "the client is gone"));
        let frame = self.link.incoming.next().await.unwrap_or_else(gone)?;
        self.length = frame.len();
        self.wire.decode(frame)
    }

    async fn hear(&mut self) -> (u32, Message) {
        self.try_hear().await.unwrap()
    }

    async fn say(&mut self, stream: u32, message: &Message) {
        let frame = self.wire.encode(stream, message);
        self.link.outgoing.send(frame).await.unwrap();
    }

    /// Receives the greeting, and answers it, with zstd if that is offered.
    async fn greet(&mut self) {
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
struct Doorman(mpsc::UnboundedSender<(Served, PeerInfo, oneshot::Sender<()>)>);

impl LinkHandler for Doorman {
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()> {
        let (done, wait) = oneshot::channel();
        let served = Served { link, wire: Wire::new(MAX_PAYLOAD), length: 0 };
        let _ = self.0.send((served, peer, done));
        async move { wait.await.unwrap_or(()) }.boxed()
    }
}

/// The pause between two polls.
const SHORT: Duration = Duration::from_millis(2);

struct Server {
    address: SocketAddr,
    links: mpsc::UnboundedReceiver<(Served, PeerInfo, oneshot::Sender<()>)>,
    places: Vec<oneshot::Sender<()>>,
}

impl Server {
    async fn start_with(config: WsServerConfig) -> Self {
        let (tell, links) = mpsc::unbounded_channel();
        let address = serve(router_with(Doorman(tell), config)).await;
        Self { address, links, places: Vec::new() }
    }

    async fn start() -> Self {
        Self::start_with(WsServerConfig::default()).await
    }

    fn config(&self) -> WsConfig {
        WsConfig::new(format!("ws://{}", self.address))
    }

    /// Returns the next link; its place is taken until the server is dropped.
    async fn link(&mut self) -> Served {
        let (served, _, place) = self.links.recv().await.unwrap();
        self.places.push(place);
        served
    }

    async fn connected(&mut self, config: WsConfig) -> (Arc<dyn Connection>, Served) {
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

async fn serve(app: Router) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(listen(socket, app, std::future::pending()));
    address
}

fn hello() -> Hello {
    Hello { agent: "test".to_owned(), ..Hello::new(ReplicaId([1; 16])) }
}

fn pull() -> Pull {
    Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK }
}

fn state(body: &str) -> DocumentState {
    let revision = Revision { stamp: Stamp::new(9, 0), replica: ReplicaId([1; 16]) };
    let body = Some(Body::parse(body.to_owned()).unwrap());
    DocumentState::new(revision, body)
}

fn chunk(after: u64, body: &str) -> Chunk {
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

fn batch(body: &str) -> PushBatch {
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

fn accepted() -> Verdicts {
    let verdict = Verdict { seq: Seq(1), kind: VerdictKind::Accepted, current: None };
    Verdicts::Decided { epoch: Epoch([2; 16]), mark: None, verdicts: vec![verdict] }
}

fn text(bytes: usize) -> String {
    format!("\"{}\"", "the same again ".repeat(bytes / 15))
}

async fn refused(config: WsConfig) -> Error {
    within(WsTransport::new(config).unwrap().connect(hello())).await.unwrap_err()
}

#[tokio::test]
async fn requests_and_a_live_stream_go_both_ways() {
    let mut server = Server::start().await;
    let (connection, mut served) = server.connected(server.config()).await;
    let script = async {
        let (stream, message) = served.hear().await;
        assert_eq!(message, Message::Pull(pull()));
        served.say(stream, &Message::Chunk(chunk(0, "1"))).await;
        let (stream, Message::Push(push)) = served.hear().await else { panic!("no push") };
        assert_eq!(push.batch, batch("2"));
        served.say(stream, &Message::Verdicts(accepted())).await;
        let (stream, _) = served.hear().await;
        let reset = Reset { epoch: Epoch([2; 16]), reason: ResetReason::DigestDiffers };
        served.say(stream, &Message::Reset(reset)).await;
        let (stream, message) = served.hear().await;
        assert_eq!(message, Message::Live(pull()));
        let mut credit = 0;
        for after in 1..20 {
            while credit == 0 {
                let (s, Message::Credit(n)) = served.hear().await else { panic!("no credit") };
                assert_eq!(s, stream);
                credit += n;
            }
            credit -= 1;
            served.say(stream, &Message::Chunk(chunk(after, "3"))).await;
        }
        while served.hear().await != (stream, Message::EndLive) {}
        served
    };
    let asking = async {
        assert_eq!(connection.pull(pull()).await.unwrap(), Delivery::Chunk(chunk(0, "1")));
        assert_eq!(connection.push(batch("2")).await.unwrap(), accepted());
        let ack = Ack::new(Scope::default(), Epoch([2; 16]), Seq(1));
        assert!(connection.acknowledge(ack).await.unwrap().is_some());
        let mut live = connection.live(pull());
        for after in 1..20 {
            let event = live.next().await.unwrap().unwrap();
            assert_eq!(event, Delivery::Chunk(chunk(after, "3")));
        }
    };
    let (mut served, ()) = within(async { tokio::join!(script, asking) }).await;
    let why = Goodbye { reason: "done".to_owned(), retry_after: None };
    within(connection.close(why.clone())).await;
    assert_eq!(within(served.hear()).await, (0, Message::Goodbye(why)));
    assert!(within(served.link.incoming.next()).await.is_none());
}

#[tokio::test]
async fn the_server_receives_address_and_headers_of_the_client() {
    let mut server = Server::start().await;
    let mut config = server.config();
    config.headers.push(("x-gateway".to_owned(), "7".to_owned()));
    let transport = WsTransport::new(config).unwrap();
    let connecting = tokio::spawn(async move { transport.connect(hello()).await });
    let (_served, peer, _place) = within(server.links.recv()).await.unwrap();
    assert_eq!(peer.address.unwrap().ip(), server.address.ip());
    assert_eq!(peer.headers["x-gateway"], "7");
    assert_eq!(peer.headers["sec-websocket-protocol"], "twotide.v1");
    assert!(!format!("{peer:?}").contains("gateway"));
    connecting.abort();
}

#[tokio::test]
async fn tls_works_with_the_right_root_and_not_without() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (pem, der) = (certified.cert.pem(), certified.cert.der().to_vec());
    let key = certified.signing_key.serialize_pem();
    let (tell, mut links) = mpsc::unbounded_channel();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let tls = server_config(pem.as_bytes(), key.as_bytes()).unwrap();
    tokio::spawn(listen_tls(socket, tls, router(Doorman(tell)), std::future::pending()));

    // A client that never finishes its handshake delays no other.
    let _silent = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut config = WsConfig::new(format!("wss://localhost:{port}/"));
    for trust in [
        Trust::Only(vec![pem.clone().into_bytes()]),
        Trust::Only(vec![der.clone()]),
        Trust::Web { extra: vec![der] },
    ] {
        config.trust = trust;
        let transport = WsTransport::new(config.clone()).unwrap();
        let serving = async {
            let (mut served, ..) = links.recv().await.unwrap();
            served.greet().await;
            served
        };
        let (connected, _served) =
            within(async { tokio::join!(transport.connect(hello()), serving) }).await;
        connected.unwrap();
    }

    config.trust = Trust::default();
    let error = refused(config.clone()).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    assert!(error.report().to_string().contains("UnknownIssuer"), "{error}");
    // The right root for a wrong name.
    config.trust = Trust::Only(vec![pem.into_bytes()]);
    config.url = format!("wss://127.0.0.1:{port}");
    let error = refused(config.clone()).await;
    assert!(error.report().to_string().contains("certificate"), "{error}");
    // No TLS where TLS is expected.
    config.url = format!("ws://127.0.0.1:{port}");
    assert_eq!(refused(config).await.retry(), Retry::Reconnect);
}

#[tokio::test]
async fn invalid_roots_are_refused_at_once() {
    let mut config = WsConfig::new("wss://localhost");
    for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        config.trust = Trust::Only(vec![bad.as_bytes().to_vec()]);
        let error = WsTransport::new(config.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
    }
    assert_eq!(server_config(b"", b"").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn addresses_are_checked_before_connecting() {
    for bad in [
        "",
        "localhost",
        "localhost:80",
        "http://localhost",
        "ws://",
        "ws://:80",
        "ws://localhost:99999",
        "ws://localhost:0",
        "ws://local host",
        "ws://user:secret@localhost",
        "ws://localhost:",
    ] {
        let error = WsTransport::new(WsConfig::new(bad)).expect_err(bad);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        assert!(!error.report().to_string().contains("secret"), "{error}");
    }
    for good in ["ws://localhost", "wss://example.org:7000/a/b", "ws://[::1]:9", "wss://10.0.0.1"] {
        WsTransport::new(WsConfig::new(good)).unwrap();
    }
    let mut config = WsConfig::new("ws://localhost");
    config.headers.push(("not a name".to_owned(), "x".to_owned()));
    assert_eq!(WsTransport::new(config).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_message_over_the_clients_limit_is_a_clear_error_and_not_the_end() {
    let mut server = Server::start().await;
    let mut config = server.config();
    config.framed.max_payload = 10_000;
    for _ in 0..2 {
        let (connection, mut served) = server.connected(config.clone()).await;
        let script = async {
            let (stream, _) = served.hear().await;
            // The client may close before the whole message is written.
            let frame = served.wire.encode(stream, &Message::Chunk(chunk(0, &text(20_000))));
            let _ = served.link.outgoing.send(frame).await;
        };
        let (pulled, lost, ()) =
            within(async { tokio::join!(connection.pull(pull()), connection.lost(), script) })
                .await;
        for error in [pulled.unwrap_err(), lost] {
            assert_eq!((error.kind(), error.retry()), (ErrorKind::TooLarge, Retry::Reconnect));
            assert!(error.report().to_string().contains("over the limit"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_message_over_the_servers_limit_is_a_clear_error_to_the_server() {
    let mut limits = WsServerConfig::default();
    limits.max_payload = 10_000;
    let mut server = Server::start_with(limits).await;
    let (connection, mut served) = server.connected(server.config()).await;
    let script = async {
        let error = served.try_hear().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let goodbye = Goodbye { reason: error.message().to_owned(), retry_after: None };
        served.say(0, &Message::Goodbye(goodbye)).await;
    };
    let (pushed, ()) =
        within(async { tokio::join!(connection.push(batch(&text(20_000))), script) }).await;
    let error = pushed.unwrap_err();
    assert_eq!(error.retry(), Retry::Reconnect);
    assert!(error.report().to_string().contains("over the limit"), "{error}");
    let (connection, mut served) = server.connected(server.config()).await;
    let script = async {
        let (stream, _) = served.hear().await;
        served.say(stream, &Message::Verdicts(accepted())).await;
    };
    within(async { tokio::join!(connection.push(batch("1")), script) }).await.0.unwrap();
}

#[tokio::test]
async fn garbage_and_text_lose_the_link() {
    for (message, what) in [
        (WsMessage::Binary(Bytes::from_static(b"garbage")), "shorter than its header"),
        (WsMessage::Binary(Bytes::from(vec![7; 100])), "changed on the way"),
        (WsMessage::Binary(Bytes::new()), "shorter than its header"),
        (WsMessage::Text("hello".into()), "text message"),
    ] {
        let app = Router::new().route(
            PATH,
            any(move |upgrade: WebSocketUpgrade| async move {
                upgrade.protocols([SUBPROTOCOL]).on_upgrade(|mut socket| async move {
                    let _ = socket.send(message).await;
                    while let Some(Ok(_)) = socket.recv().await {}
                })
            }),
        );
        let address = serve(app).await;
        let error = refused(WsConfig::new(format!("ws://{address}"))).await;
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Reconnect));
        assert!(error.report().to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn garbage_from_a_client_does_not_affect_the_server() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    let mut server = Server::start().await;
    for raw in [Raw::binary(vec![1; 50]), Raw::text("hello")] {
        let url = format!("ws://{}{PATH}", server.address);
        let (mut socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
        let mut served = within(server.link()).await;
        socket.send(raw).await.unwrap();
        assert_eq!(within(served.try_hear()).await.unwrap_err().kind(), ErrorKind::Protocol);
    }
}

#[tokio::test]
async fn a_server_that_ends_fails_pending_requests_at_once() {
    let mut server = Server::start().await;
    let (connection, mut served) = server.connected(server.config()).await;
    let mut live = connection.live(pull());
    let script = async {
        for _ in 0..4 {
            served.hear().await;
        }
        drop(served);
        server.places.clear();
    };
    let (pulled, pushed, event, lost, ()) = within(async {
        tokio::join!(
            connection.pull(pull()),
            connection.push(batch("1")),
            live.next(),
            connection.lost(),
            script
        )
    })
    .await;
    for error in [pulled.unwrap_err(), pushed.unwrap_err(), event.unwrap().unwrap_err(), lost] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    }
}

#[tokio::test]
async fn a_closed_port_is_a_retryable_error() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let error = refused(WsConfig::new(format!("ws://{address}"))).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    assert!(error.report().to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_server_that_accepts_and_sends_nothing_times_out() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = WsConfig::new(format!("ws://{}", socket.local_addr().unwrap()));
    config.connect_timeout = Duration::from_millis(50);
    let error = refused(config).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Reconnect));
}

#[tokio::test]
async fn refusals_of_http_keep_their_advice() {
    let later = |seconds: Option<u64>| Retry::Later(seconds.map(Duration::from_secs));
    for (status, header, kind, retry) in [
        (401, "", ErrorKind::Unauthenticated, later(None)),
        (403, "", ErrorKind::Network, later(None)),
        (404, "", ErrorKind::NotFound, later(None)),
        (429, "7", ErrorKind::Overloaded, later(Some(7))),
        (503, "120", ErrorKind::Overloaded, later(Some(120))),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", ErrorKind::Overloaded, later(Some(0))),
        (503, "Fri, 31 Dec 2100 23:59:59 GMT", ErrorKind::Overloaded, later(Some(5 * 60))),
        (503, "soon", ErrorKind::Overloaded, later(None)),
        (502, "", ErrorKind::Network, later(None)),
        (200, "", ErrorKind::Protocol, later(None)),
    ] {
        let answer =
            (StatusCode::from_u16(status).unwrap(), [("retry-after", header)], "because\u{7}");
        let app = Router::new().route(PATH, any(move || async move { answer }));
        let address = serve(app).await;
        let error = refused(WsConfig::new(format!("ws://{address}"))).await;
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{status} {error}");
        assert!(error.report().to_string().contains(&status.to_string()), "{error}");
        assert!(!error.report().to_string().contains('\u{7}'));
    }
}

#[tokio::test]
async fn a_full_server_advises_a_retry_and_has_room_again() {
    let mut limits = WsServerConfig::default();
    limits.connections = 1;
    let mut server = Server::start_with(limits).await;
    let (connection, served) = server.connected(server.config()).await;
    let error = refused(server.config()).await;
    let later = Retry::Later(Some(Duration::from_secs(10)));
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, later));
    drop((connection, served));
    server.places.clear();
    // The place is free as soon as the server has detected the end.
    let transport = WsTransport::new(server.config()).unwrap();
    let serving = async {
        let mut served = server.link().await;
        served.greet().await;
        served
    };
    let connecting = async {
        loop {
            match transport.connect(hello()).await {
                Err(error) if error.kind() == ErrorKind::Overloaded => {
                    tokio::task::yield_now().await;
                }
                other => return other,
            }
        }
    };
    within(async { tokio::join!(connecting, serving) }).await.0.unwrap();
}

#[tokio::test]
async fn a_client_that_is_not_admitted_has_a_bound_of_bytes_and_takes_a_greeting_place() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    let mut limits = WsServerConfig::default();
    (limits.greetings, limits.greeting_bytes) = (1, 10_000);
    let mut server = Server::start_with(limits).await;
    let url = format!("ws://{}{PATH}", server.address);
    let (mut socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
    let mut served = within(server.link()).await;
    let error = refused(server.config()).await;
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    socket.send(Raw::binary(vec![1; 9_000])).await.unwrap();
    assert_eq!(within(served.link.incoming.next()).await.unwrap().unwrap().len(), 9_000);
    // The socket may be closed before everything is sent.
    let _ = socket.send(Raw::binary(vec![1; 9_000])).await;
    let error = within(served.link.incoming.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    drop(served);
    server.places.clear();
    // Once a client is admitted there is room for another, and its size is not limited any more.
    let (_one, mut one) = server.connected(server.config()).await;
    let (_two, _) = server.connected(server.config()).await;
    assert!(one.link.admission.is_none());
    let large = one.wire.encode(0, &Message::Ping(1));
    one.link.outgoing.send(large).await.unwrap();
}

#[tokio::test]
async fn large_arriving_messages_have_a_separate_memory_bound() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let mut limits = WsServerConfig::default();
    limits.message_memory = 1 << 20;
    let mut server = Server::start_with(limits).await;
    let url = format!("ws://{}{PATH}", server.address);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (socket, _) = within(tokio_tungstenite::connect_async(&url)).await.unwrap();
        let mut link = within(server.link()).await.link;
        link.admission = None;
        clients.push((socket, link));
    }
    let [(mut one, mut at_one), (mut two, mut at_two), (mut three, mut at_three)] =
        clients.try_into().unwrap_or_else(|_| panic!("there are three"));
    // The first client takes three quarters with a message that does not end.
    let begin = Frame::message(vec![1; 700_000], OpCode::Data(Data::Binary), false);
    let activity = at_one.activity.clone().unwrap();
    let arrived = async {
        one.send(Raw::Frame(begin)).await.unwrap();
        one.send(Raw::Ping("between the parts".into())).await.unwrap();
        while activity.moved().down < 700_000 {
            tokio::time::sleep(SHORT).await;
        }
    };
    within(async {
        tokio::select! {
            () = arrived => {}
            found = at_one.incoming.next() => panic!("{:?}", found.map(|f| f.is_ok())),
        }
    })
    .await;
    // A small message is accepted, and a large one closes the connection.
    two.send(Raw::binary(vec![2; 60_000])).await.unwrap();
    assert_eq!(within(at_two.incoming.next()).await.unwrap().unwrap().len(), 60_000);
    let _ = two.send(Raw::binary(vec![2; 200_000])).await;
    let error = within(at_two.incoming.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    // A complete message releases its memory for others.
    let end = Frame::message(vec![1; 10], OpCode::Data(Data::Continue), true);
    one.send(Raw::Frame(end)).await.unwrap();
    assert_eq!(within(at_one.incoming.next()).await.unwrap().unwrap().len(), 700_010);
    let sending = three.send(Raw::binary(vec![3; 500_000]));
    let (sent, taken) = within(async { tokio::join!(sending, at_three.incoming.next()) }).await;
    sent.unwrap();
    assert_eq!(taken.unwrap().unwrap().len(), 500_000);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let mut server = Server::start().await;
    let address = server.address;
    let with_origin = |origin: &str| {
        let mut config = WsConfig::new(format!("ws://{address}"));
        config.headers.push(("origin".to_owned(), origin.to_owned()));
        config
    };
    for origin in ["https://evil.example", "null", "http://localhost:1"] {
        let error = refused(with_origin(origin)).await.to_string();
        assert!(error.contains("403") && error.contains("origin"), "{origin}: {error}");
    }
    let own = with_origin(&format!("http://{address}"));
    server.connected(own).await;
}

#[tokio::test]
async fn a_page_under_a_foreign_name_for_this_server_is_refused_and_a_program_is_not() {
    let mut limits = WsServerConfig::default();
    limits.browsers = limits.browsers.local_hosts();
    let server = Server::start_with(limits).await;
    for (host, origin, status) in [
        ("evil.example", "Origin: http://evil.example\r\n", "403"),
        ("evil.example", "", "403"),
        ("sync", "Origin: http://sync\r\n", "403"),
        ("sync", "", "101"),
    ] {
        let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {host}\r\n{origin}Upgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        within(tokio::io::AsyncReadExt::read_exact(&mut socket, &mut answer)).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer[9..]).unwrap(), status, "{host} {origin}");
    }
}

#[tokio::test]
async fn compressed_messages_are_smaller_on_the_wire() {
    let mut server = Server::start().await;
    let mut lengths = Vec::new();
    for compressions in [vec![], vec![Arc::new(Zstd) as _]] {
        let mut config = server.config();
        config.framed.compressions = compressions;
        let (connection, mut served) = server.connected(config).await;
        let script = async {
            let (stream, Message::Push(push)) = served.hear().await else { panic!("no push") };
            let length = served.length;
            assert_eq!(push.batch, batch(&text(100_000)));
            served.say(stream, &Message::Verdicts(accepted())).await;
            let (stream, _) = served.hear().await;
            served.say(stream, &Message::Chunk(chunk(0, &text(100_000)))).await;
            length
        };
        let asking = async {
            connection.push(batch(&text(100_000))).await.unwrap();
            connection.pull(pull()).await.unwrap()
        };
        let (length, pulled) = within(async { tokio::join!(script, asking) }).await;
        assert_eq!(pulled, Delivery::Chunk(chunk(0, &text(100_000))));
        lengths.push(length);
    }
    assert!(lengths[0] > 100_000 && lengths[1] < 2_000, "{lengths:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_server() {
    let mut server = Server::start().await;
    let url = format!("ws://{}{PATH}", server.address);
    let (socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
    let mut served = within(server.link()).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = async {
        let frame = Bytes::from(vec![0; 1 << 20]);
        while served.link.outgoing.send(frame.clone()).await.is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    // The operating system's buffers fill up, and then nothing more is sent.
    assert!(tokio::time::timeout(Duration::from_secs(1), sending).await.is_err());
    assert!(sent.load(Ordering::Relaxed) < 100);
    drop(socket);
}

#[test]
fn the_golden_frame_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/frame-2-compressed.hex");
    let file = std::fs::read_to_string(path).unwrap();
    let hex: String = file.lines().filter(|l| !l.starts_with('#')).collect();
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    let frame: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let mut wire = Wire::new(MAX_PAYLOAD);
    wire.set_compression(Some(Arc::new(Zstd)));
    // The sender has sent two frames before it.
    let mut sender = Wire::new(MAX_PAYLOAD);
    for n in 0..2 {
        wire.decode(sender.encode(0, &Message::Ping(n))).unwrap();
    }
    assert_eq!(wire.decode(frame.into()).unwrap(), (u32::MAX, Message::Pong(300)));
}

#[tokio::test]
async fn addresses_are_read_as_typed_and_a_path_is_a_prefix() {
    let (tell, mut links) = mpsc::unbounded_channel();
    let app =
        Router::new().merge(router(Doorman(tell.clone()))).nest("/team", router(Doorman(tell)));
    let address = serve(app).await;
    for (url, works) in [
        (format!("WS://{address}"), true),
        (format!(" ws://{address}/ "), true),
        (format!("ws://{address}/team"), true),
        (format!("ws://{address}/team/"), true),
        (format!("ws://{address}{PATH}"), true),
        (format!("ws://{address}/other"), false),
    ] {
        let transport = WsTransport::new(WsConfig::new(url.clone())).unwrap();
        let connecting = transport.connect(hello());
        if works {
            let serving = async {
                let (mut served, _, place) = links.recv().await.unwrap();
                served.greet().await;
                (served, place)
            };
            within(async { tokio::join!(connecting, serving) }).await.0.expect(&url);
        } else {
            assert_eq!(within(connecting).await.unwrap_err().kind(), ErrorKind::NotFound, "{url}");
        }
    }
    for refused in ["ws://h/?token=secret", "ws://h/#secret", "ws://ann:secret@h"] {
        let error = WsTransport::new(WsConfig::new(refused)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

/// A certificate of `openssl req -x509`: a server's that is marked as an authority's.
#[tokio::test]
async fn a_self_signed_authority_is_trusted_as_a_server_if_it_is_configured_itself() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let make = |params: &rcgen::CertificateParams| params.self_signed(&key).unwrap().pem();
    let (current, other) = (make(&params), make(&params));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = make(&params);
    for (served_with, trusted, url_host, works) in [
        (&current, &current, "localhost", true),
        (&current, &current, "127.0.0.1", false),
        (&current, &other, "localhost", current == other),
        (&expired, &expired, "localhost", false),
    ] {
        let (tell, mut links) = mpsc::unbounded_channel();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let tls = server_config(served_with.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        tokio::spawn(listen_tls(socket, tls, router(Doorman(tell)), std::future::pending()));
        let mut config = WsConfig::new(format!("wss://{url_host}:{port}"));
        config.trust = Trust::Only(vec![trusted.clone().into_bytes()]);
        let transport = WsTransport::new(config).unwrap();
        if !works {
            let error = within(transport.connect(hello())).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network, "{url_host}: {error}");
            continue;
        }
        let serving = async {
            let (mut served, ..) = links.recv().await.unwrap();
            served.greet().await;
            served
        };
        within(async { tokio::join!(transport.connect(hello()), serving) }).await.0.unwrap();
    }
}
