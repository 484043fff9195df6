//! A server on a real socket, and a plain HTTP client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_server::{Hooks, Server, ServerOptions};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use transport_http::{HttpServerConfig, router_with};

pub const REPLICA: &str = "07070707070707070707070707070707";

/// Runs a future that must complete soon.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

pub fn memory(hooks: Hooks, options: ServerOptions) -> Server {
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    Server::builder(Arc::new(storage)).hooks(hooks).options(options).build()
}

/// Returns a client that does not compress or decompress.
pub fn client() -> reqwest::ClientBuilder {
    let trust = transport_kit::tls::Trust::Only(Vec::new()).client_config().unwrap();
    Client::builder().no_proxy().no_gzip().no_zstd().tls_backend_preconfigured((*trust).clone())
}

/// A server that listens until this is dropped.
pub struct Served {
    pub server: Server,
    pub address: SocketAddr,
    pub client: Client,
    _stop: oneshot::Sender<()>,
}

impl Served {
    pub async fn new() -> Self {
        Self::with(memory(Hooks::default(), ServerOptions::default()), |_| {}).await
    }

    pub async fn with(server: Server, set: impl FnOnce(&mut HttpServerConfig)) -> Self {
        let mut config = HttpServerConfig::default();
        set(&mut config);
        let app = router_with(server.clone(), config);
        Self::app(server, app).await
    }

    pub async fn app(server: Server, app: Router) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(transport_kit::listen(socket, app, async {
            let _ = stopped.await;
        }));
        Self { server, address, client: client().build().unwrap(), _stop: stop }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str, json: &str) -> RequestBuilder {
        let request = self.client.post(self.url(path)).body(json.to_owned());
        request.header("content-type", "application/json")
    }

    /// Pushes documents of the collection `notes` into the scope `room`, each with a body that is
    /// its own id.
    pub async fn push(&self, id: u64, documents: &[&str]) -> Value {
        let changes: Vec<_> = documents
            .iter()
            .map(|d| serde_json::json!({"collection": "notes", "id": d, "body": d}))
            .collect();
        let push = serde_json::json!({"replica": REPLICA, "id": id, "changes": changes});
        let answer = self.post("/v1/scopes/room/pushes", &push.to_string());
        expect(answer, 200).await.1
    }
}

/// Sends a request, asserts its status, and returns its JSON (or null).
pub async fn expect(request: RequestBuilder, status: u16) -> (HeaderMap, Value) {
    let answer = within(request.send()).await.unwrap();
    let (was, headers) = (answer.status(), answer.headers().clone());
    let body = within(answer.bytes()).await.unwrap();
    assert_eq!(was, status, "{}", String::from_utf8_lossy(&body));
    if body.is_empty() {
        return (headers, Value::Null);
    }
    assert_eq!(headers["content-type"], "application/json");
    (headers, serde_json::from_slice(&body).unwrap())
}

/// Sends a request that fails with that status, and returns the kind and the message of the error.
pub async fn refused(request: RequestBuilder, status: u16) -> (String, String) {
    let (_, json) = expect(request, status).await;
    let text = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{json}")).to_owned();
    assert!(!json["retry"].is_null(), "{json}");
    (text("kind"), text("message"))
}

/// The blocks of a stream of events: comments, and events as their lines.
pub struct Blocks {
    answer: Response,
    rest: String,
}

impl Blocks {
    pub async fn open(request: RequestBuilder) -> Self {
        let answer = within(request.header("accept", "text/event-stream").send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, rest: String::new() }
    }

    pub fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// Returns the next block without its empty line; none at the end of a stream that ended
    /// cleanly.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let block = block.to_owned();
                self.rest = rest.to_owned();
                return Some(block);
            }
            let Some(bytes) = within(self.answer.chunk()).await.unwrap() else {
                assert!(self.rest.is_empty(), "the stream ended within an event");
                return None;
            };
            self.rest.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Returns the next event that is no comment: its name, its id and its data.
    pub async fn event(&mut self) -> Option<(String, String, String)> {
        loop {
            let block = self.next().await?;
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                let lines = block.lines().filter_map(|l| l.strip_prefix(name));
                lines.map(|l| l.trim_start()).collect::<Vec<_>>().join("\n")
            };
            return Some((field("event:"), field("id:"), field("data:")));
        }
    }
}
