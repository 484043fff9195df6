//! A server over real sockets that answers as a test determines, and records its requests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use sync_core::error::{Error, ErrorKind};
use sync_core::model::{
    Body as Json, Chunk, Collection, Cursor, DocumentId, DocumentState, Epoch, Limits, LogEntry,
    LogKey, LogMark, LogRun, ReplicaId, Revision, Scope, Seq, ServerStart, Stamp,
};
use sync_core::protocol::{Hello, Pull, Welcome, WireError};
use sync_core::transport::{Connection, Transport};
use tokio::net::TcpListener;
use tokio::sync::watch;
use transport_http::format::{Changes, Content, Continued, EventWriter, Format, StreamEvent};
use transport_http::{HttpConfig, HttpTransport, ProxyBy};

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub fn accepts(&self) -> &str {
        self.header("accept").unwrap_or_default()
    }

    /// Returns the format that the client accepts.
    pub fn format(&self) -> Format {
        Format::of_content_type(self.accepts()).unwrap_or(Format::Frame)
    }
}

type Handler = dyn Fn(Seen) -> BoxFuture<'static, Response> + Send + Sync;

/// The server.
pub struct Script {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    /// Starts a server that answers with the closure.
    pub async fn start<F>(answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(move |seen| answer(seen).boxed());
        let all = Arc::clone(&seen);
        let app = Router::new().fallback(move |request: Request| {
            let (all, handler) = (Arc::clone(&all), Arc::clone(&handler));
            async move {
                let seen = take(request).await;
                all.lock().unwrap().push(seen.clone());
                handler(seen).await
            }
        });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(socket, app).await.unwrap() });
        Self { address, seen, task }
    }

    /// Starts a server that answers greetings itself, and everything else with the closure.
    pub async fn greeting<F>(answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        Self::start(move |seen| {
            if seen.path == "/v1/hello" {
                let greeting = content(seen.format(), welcome());
                async { greeting }.boxed()
            } else {
                answer(seen).boxed()
            }
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn config(&self) -> HttpConfig {
        config(self.url())
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns all requests but the greeting.
    pub fn asked(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|s| s.path != "/v1/hello").collect()
    }

    /// Connects with that configuration.
    pub async fn connect_with(&self, config: HttpConfig) -> Arc<dyn Connection> {
        let transport = HttpTransport::new(config).unwrap();
        within(transport.connect(hello(Some("secret")))).await.unwrap().0
    }

    pub async fn connect(&self) -> Arc<dyn Connection> {
        self.connect_with(self.config()).await
    }
}

async fn take(request: Request) -> Seen {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|p| p.split_once('='));
    Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        headers: parts.headers,
        body: axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default(),
    }
}

/// Returns the configuration for a server on this machine.
pub fn config(url: String) -> HttpConfig {
    let mut config = HttpConfig::new(url);
    config.proxy = ProxyBy::None;
    config
}

/// Runs a future that must complete soon.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}

/// Returns an answer with only these headers.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// Returns an answer of a Twotide server.
pub fn content(format: Format, content: impl Content) -> Response {
    let body = format.encode(content).unwrap();
    answer(200, &[("content-type", format.content_type())], body)
}

pub fn changes(format: Format, chunk: Chunk) -> Response {
    content(format, Changes::Chunk(Box::new(page(chunk))))
}

fn page(chunk: Chunk) -> Continued {
    let cursor = Some(cursor_after(&chunk));
    Continued { chunk, cursor }
}

/// Returns a stream of server-sent events from pieces of text.
pub fn stream(pieces: impl Stream<Item = String> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let pieces = pieces.map(|p| Ok::<_, Infallible>(Bytes::from(p)));
    answer(200, &[("content-type", "text/event-stream")], Body::from_stream(pieces))
}

/// The beginning of a stream.
pub const COMMENT: &str = ":\n\n";

/// Returns an event as text.
pub fn event(writer: &mut EventWriter, event: StreamEvent) -> String {
    let name = event.name();
    let data = writer.data(event).unwrap().replace('\n', "\ndata: ");
    format!("event: {name}\ndata: {data}\n\n")
}

pub fn chunk_event(writer: &mut EventWriter, chunk: Chunk) -> String {
    event(writer, StreamEvent::Changes(Changes::Chunk(Box::new(page(chunk)))))
}

pub const EPOCH: Epoch = Epoch([7; 16]);

/// Returns the mark of the log at a position; none of an empty log.
pub fn mark(at: u64) -> Option<LogMark> {
    let run = LogRun { start: ServerStart(3), first: Seq(1), last: Seq(at) };
    (at > 0).then(|| LogMark::sign(EPOCH, vec![run], &LogKey([7; 16])))
}

pub fn hello(token: Option<&str>) -> Hello {
    Hello {
        token: token.map(str::to_owned),
        compressions: vec!["zstd".to_owned()],
        agent: "test".to_owned(),
        ..Hello::new(ReplicaId([1; 16]))
    }
}

pub fn welcome() -> Welcome {
    Welcome { heartbeat: 20_000, ..Welcome::new(7) }
}

/// Returns a cursor at a position.
pub fn at(position: u64) -> Cursor {
    Cursor {
        epoch: Some(EPOCH),
        after: Seq(position),
        position: Seq(position),
        mark: mark(position),
        ..Cursor::default()
    }
}

fn cursor_after(chunk: &Chunk) -> Cursor {
    at(chunk.next.0)
}

pub fn pull(position: u64) -> Pull {
    Pull { scope: Scope::default(), cursor: at(position), limits: Limits::CHUNK }
}

/// Returns a chunk with one document for each position in `(after, next]`.
pub fn chunk(after: u64, next: u64) -> Chunk {
    Chunk {
        next: Seq(next),
        head: Seq(next),
        mark: mark(next),
        entries: (after + 1..=next).map(entry).collect(),
        ..Chunk::empty(Scope::default(), EPOCH, Seq(after))
    }
}

fn entry(seq: u64) -> LogEntry {
    let stamp = Stamp::new(1_000 + seq, 0);
    LogEntry::new(
        Seq(seq),
        Collection::new("notes").unwrap(),
        DocumentId::new(format!("d{seq}")).unwrap(),
        DocumentState {
            revision: Revision { stamp, replica: ReplicaId([2; 16]) },
            author: Revision { stamp, replica: ReplicaId([2; 16]) },
            created: stamp,
            body: Some(Json::parse(Bytes::from(format!("{{\"n\":{seq}}}"))).unwrap()),
            erased: None,
        },
    )
}

/// The number of requests that are being answered.
#[derive(Clone, Default)]
pub struct Gauge(Arc<watch::Sender<(usize, usize)>>);

impl Gauge {
    /// Counts one until the result is dropped.
    pub fn one(&self) -> impl Drop + Send + use<> {
        self.0.send_modify(|(now, most)| {
            *now += 1;
            *most = (*most).max(*now);
        });
        struct One(Gauge);
        impl Drop for One {
            fn drop(&mut self) {
                self.0.0.send_modify(|(now, _)| *now -= 1);
            }
        }
        One(self.clone())
    }

    /// Returns the highest number at one time.
    pub fn most(&self) -> usize {
        self.0.borrow().1
    }

    /// Waits until there are exactly `n`.
    pub async fn reaches(&self, n: usize) {
        within(self.0.subscribe().wait_for(|(now, _)| *now == n)).await.unwrap();
    }
}

pub fn framed(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let mut all = vec![("content-type", "application/vnd.twotide.v1")];
    all.extend_from_slice(headers);
    answer(status, &all, body)
}

pub fn bytes_of_chunk() -> Vec<u8> {
    let chunk = changes(Format::Frame, chunk(0, 5));
    axum::body::to_bytes(chunk.into_body(), 1 << 20).now_or_never().unwrap().unwrap().to_vec()
}

pub fn html(status: u16, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![("content-type", "text/html; charset=utf-8")];
    all.extend_from_slice(headers);
    answer(status, &all, "<html>Sign in to the network</html>")
}

pub fn refusal(format: Format) -> Response {
    refused(403, format, ErrorKind::PermissionDenied, "not this scope")
}

pub fn unauthenticated(format: Format) -> Response {
    refused(401, format, ErrorKind::Unauthenticated, "the token is unknown")
}

fn refused(status: u16, format: Format, kind: ErrorKind, message: &str) -> Response {
    let body = format.encode(WireError::from(&Error::new(kind, message))).unwrap();
    answer(status, &[("content-type", format.content_type())], body)
}
