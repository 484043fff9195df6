//! Listening on real sockets: clients that are slow, silent, or too many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use sync_core::error::{ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsConnector;
use transport_kit::tls::{Trust, server_config};
use transport_kit::{ListenConfig, RemoteAddress, listen_tls_with, listen_with};

/// Runs a future that must complete soon.
async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

fn config(set: impl FnOnce(&mut ListenConfig)) -> ListenConfig {
    let mut config = ListenConfig::default();
    set(&mut config);
    config
}

/// A server that listens until it is stopped.
struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Listening {
    async fn start(app: Router, config: ListenConfig) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(listen_with(socket, app, config, async {
            let _ = stopped.await;
        }));
        Self { address, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

async fn ask(stream: &mut (impl AsyncWrite + Unpin), path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    within(stream.write_all(request.as_bytes())).await.unwrap();
}

/// Reads up to that text.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut read = String::new();
    while !read.contains(text) {
        let byte = within(stream.read_u8()).await;
        read.push(byte.unwrap_or_else(|e| panic!("{e} after {read:?}")).into());
    }
}

/// Waits until the other side has closed the connection.
async fn is_cut(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 1024];
    within(async { while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} }).await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_headers_is_disconnected_even_if_it_sends_bytes() {
    let config = config(|c| c.header_timeout = Duration::from_millis(300));
    let listening = Listening::start(hello(), config).await;
    let mut silent = listening.connect().await;
    is_cut(&mut silent).await;
    let mut slow = listening.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let (mut reading, mut writing) = slow.split();
    let trickle = async {
        let mut ticks = interval(Duration::from_millis(20));
        while writing.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    };
    tokio::select! {
        () = is_cut(&mut reading) => {}
        () = trickle => {}
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_timeout() {
    let config = config(|c| c.header_timeout = Duration::from_millis(400));
    let listening = Listening::start(hello(), config).await;
    let mut stream = listening.connect().await;
    let (began, mut ticks) = (Instant::now(), interval(Duration::from_millis(50)));
    // Each request restarts the time.
    while began.elapsed() < Duration::from_millis(800) {
        ticks.tick().await;
        ask(&mut stream, "/").await;
        read_until(&mut stream, "hello").await;
    }
    is_cut(&mut stream).await;
}

/// Sends a message when it is dropped.
struct Held(mpsc::UnboundedSender<()>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Returns an app with an answer of that many pieces of 64 KiB, and the receiver of its end.
fn pieces(count: usize) -> (Router, mpsc::UnboundedReceiver<()>) {
    let (over, heard) = mpsc::unbounded_channel();
    let answer = move || {
        let held = Held(over.clone());
        let pieces = stream::iter(0..count);
        async move {
            Body::from_stream(futures_util::StreamExt::map(pieces, move |_| {
                let _held = &held;
                Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 << 10]))
            }))
        }
    };
    (Router::new().route("/", get(answer)), heard)
}

/// Opens a connection with small buffers.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    within(socket.connect(address)).await.unwrap()
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_the_answer_dropped() {
    let (app, mut over) = pieces(10_000);
    let config = config(|c| c.write_timeout = Duration::from_millis(200));
    let listening = Listening::start(app, config).await;
    let mut stream = narrow(listening.address).await;
    ask(&mut stream, "/").await;
    within(over.recv()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_reads_slowly_receives_the_whole_answer() {
    let (app, _over) = pieces(16);
    let config = config(|c| c.write_timeout = Duration::from_millis(500));
    let listening = Listening::start(app, config).await;
    let mut stream = narrow(listening.address).await;
    let began = Instant::now();
    ask(&mut stream, "/").await;
    let (mut taken, mut some) = (0, vec![0; 16 << 10]);
    let mut ticks = interval(Duration::from_millis(20));
    while taken < 1 << 20 {
        ticks.tick().await;
        let read = within(stream.read(&mut some)).await.unwrap();
        assert!(read > 0, "cut after {taken} bytes");
        taken += read;
    }
    assert!(began.elapsed() > Duration::from_millis(500), "that was not slow");
}

/// Returns an app that counts the requests that were served.
fn counted() -> (Router, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let answer = move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { "hello" }
    };
    (Router::new().route("/", get(answer)), served)
}

#[tokio::test]
async fn a_connection_to_a_full_server_is_served_after_another_closes() {
    let (app, served) = counted();
    let listening = Listening::start(app, config(|c| c.connections = 2)).await;
    let (mut one, mut two) = (listening.connect().await, listening.connect().await);
    for stream in [&mut one, &mut two] {
        ask(stream, "/").await;
        read_until(stream, "hello").await;
    }
    let mut three = listening.connect().await;
    ask(&mut three, "/").await;
    for n in 3..50 {
        ask(&mut one, "/").await;
        read_until(&mut one, "hello").await;
        assert_eq!(served.load(Ordering::SeqCst), n, "the third one is served beside the others");
    }
    drop(two);
    read_until(&mut three, "hello").await;
}

/// Makes a link from a connection, which stays open until its client closes it.
async fn upgrade(request: Request) -> impl IntoResponse {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        is_cut(&mut hyper_util::rt::TokioIo::new(upgraded)).await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::UPGRADE, "link"), (header::CONNECTION, "upgrade")])
}

#[tokio::test]
async fn a_link_keeps_the_place_of_its_connection() {
    let app = hello().route("/link", get(upgrade));
    let listening = Listening::start(app, config(|c| c.connections = 1)).await;
    let mut link = listening.connect().await;
    let request = b"GET /link HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: link\r\n\r\n";
    link.write_all(request).await.unwrap();
    read_until(&mut link, "\r\n\r\n").await;
    let mut next = listening.connect().await;
    ask(&mut next, "/").await;
    let early = timeout(Duration::from_millis(200), next.read_u8()).await;
    assert!(early.is_err(), "a second connection is served beside the link");
    drop(link);
    read_until(&mut next, "hello").await;
}

#[tokio::test]
async fn on_stop_requests_are_answered_and_idle_connections_end() {
    let (go, going) = mpsc::channel::<()>(1);
    let (entered, mut entering) = mpsc::channel::<()>(1);
    let going = Arc::new(tokio::sync::Mutex::new(going));
    let slow = move || {
        let (going, entered) = (Arc::clone(&going), entered.clone());
        async move {
            entered.send(()).await.unwrap();
            going.lock().await.recv().await.unwrap();
            "done"
        }
    };
    let app = hello().route("/slow", get(slow));
    let listening = Listening::start(app, ListenConfig::default()).await;
    let (mut idle, mut busy) = (listening.connect().await, listening.connect().await);
    ask(&mut idle, "/").await;
    read_until(&mut idle, "hello").await;
    ask(&mut busy, "/slow").await;
    within(entering.recv()).await.unwrap();
    listening.stop.send(()).unwrap();
    is_cut(&mut idle).await;
    assert!(!listening.task.is_finished(), "it does not wait for what was asked");
    go.send(()).await.unwrap();
    read_until(&mut busy, "done").await;
    within(listening.task).await.unwrap().unwrap();
    TcpStream::connect(listening.address).await.expect_err("it still listens");
}

#[tokio::test]
async fn a_handler_receives_the_address_of_the_connection() {
    let address = |ConnectInfo(from): ConnectInfo<RemoteAddress>| async move { from.0.to_string() };
    let app = Router::new().route("/", get(address));
    let listening = Listening::start(app, ListenConfig::default()).await;
    let mut stream = listening.connect().await;
    ask(&mut stream, "/").await;
    let own = stream.local_addr().unwrap().to_string();
    read_until(&mut stream, &own).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_that_cannot_listen_is_an_error() {
    use std::os::fd::OwnedFd;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connected = TcpStream::connect(other.local_addr().unwrap()).await.unwrap();
    drop(other);
    let descriptor = OwnedFd::from(connected.into_std().unwrap());
    let socket = TcpListener::from_std(descriptor.into()).unwrap();
    let served = listen_with(socket, hello(), ListenConfig::default(), std::future::pending());
    assert_eq!(within(served).await.unwrap_err().kind(), ErrorKind::Network);
}

/// Starts a server with TLS, and returns its address and a connector.
async fn secure(config: ListenConfig) -> (SocketAddr, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = server_config(certificate.as_bytes(), key.as_bytes()).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(listen_tls_with(socket, tls, hello(), config, std::future::pending()));
    let trust = Trust::Only(vec![certificate.into_bytes()]).client_config().unwrap();
    (address, TlsConnector::from(trust))
}

#[tokio::test]
async fn clients_that_are_silent_in_their_handshake_delay_no_other() {
    let (address, connector) = secure(ListenConfig::default()).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(within(TcpStream::connect(address)).await.unwrap());
    }
    // Well before the silent ones are disconnected.
    let served = timeout(Duration::from_secs(8), async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        ask(&mut stream, "/").await;
        read_until(&mut stream, "hello").await;
    });
    served.await.expect("silent clients are waited for");
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended_and_releases_its_place() {
    let config = config(|c| {
        c.connections = 1;
        c.handshake_timeout = Duration::from_millis(200);
    });
    let (address, connector) = secure(config).await;
    let mut silent = within(TcpStream::connect(address)).await.unwrap();
    is_cut(&mut silent).await;
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut stream = within(connector.connect(name, stream)).await.unwrap();
    ask(&mut stream, "/").await;
    read_until(&mut stream, "hello").await;
}
