//! A server with a SQLite file full of documents, reached over WebSocket, HTTP or in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use storage_sqlite::{SqliteConfig, Synchronous, open_server};
use sync_core::model::{Epoch, LogKey, NewLog, PushBatch, PushId, Scope, ServerStart};
use sync_core::transport::Transport;
use sync_server::ops::AppendContext;
use sync_server::{Open, Server, ServerOptions, ServerStorage};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use transport_http::format::Format;
use transport_http::{HttpConfig, HttpTransport};
use transport_ws::{WsConfig, WsTransport};

use crate::documents::{self, AUTHOR, Order};
use crate::setup::{APPEND, environment};
use crate::{Outcome, measure::Bench};

/// How a replica reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Frames over WebSocket.
    WebSocket,
    /// Frames over HTTP.
    Http,
    /// JSON over HTTP.
    HttpJson,
    /// Frames over WebSocket, compressed.
    WebSocketZstd,
}

/// Returns the transport of a replica to a server at that address.
///
/// # Errors
/// If the address is invalid.
pub fn transport(address: SocketAddr, way: Way) -> Outcome<Arc<dyn Transport>> {
    let http = |format| -> Outcome<Arc<dyn Transport>> {
        let mut config = HttpConfig::new(format!("http://{address}"));
        (config.format, config.compress) = (format, false);
        Ok(Arc::new(HttpTransport::new(config)?))
    };
    let ws = |compressions| -> Outcome<Arc<dyn Transport>> {
        let mut config = WsConfig::new(format!("ws://{address}"));
        config.framed.compressions = compressions;
        Ok(Arc::new(WsTransport::new(config)?))
    };
    match way {
        Way::WebSocket => ws(Vec::new()),
        Way::WebSocketZstd => ws(vec![Arc::new(transport_ws::Zstd)]),
        Way::Http => http(Format::Frame),
        Way::HttpJson => http(Format::Json),
    }
}

/// A server that listens until this value is dropped.
#[derive(Debug)]
pub struct Listening {
    /// The server.
    pub server: Server,
    /// The address on which it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listening {
    /// Starts a server over that storage, on a port of this machine that the operating system
    /// chooses.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(storage: Arc<dyn ServerStorage>) -> Outcome<Self> {
        let mut options = ServerOptions::default();
        // Only clients that request compression get it.
        options.compressions = vec![Arc::new(transport_ws::Zstd)];
        Self::serve(Server::builder(storage).options(options).environment(environment()).build())
            .await
    }

    /// Starts a server.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn serve(server: Server) -> Outcome<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let mut config = twotide::net::ListenConfig::default();
        config.connections = 20_000;
        let routes = twotide::routes(&server);
        let task = tokio::spawn(async move {
            let never = std::future::pending::<()>();
            if let Err(error) = twotide::net::listen_with(socket, routes, config, never).await {
                eprintln!("  the server ended: {error}");
            }
        });
        Ok(Self { server, address, task })
    }

    /// Starts a server over a SQLite file.
    ///
    /// # Errors
    /// As the storage, or if there is no port.
    pub async fn sqlite(path: &Path) -> Outcome<Self> {
        let config = SqliteConfig::new(path);
        let storage = tokio::task::spawn_blocking(move || open_server(&config)).await??;
        Self::start(Arc::new(storage)).await
    }

    /// Returns the transport of a replica to this server.
    ///
    /// # Errors
    /// Never.
    pub fn transport(&self, way: Way) -> Outcome<Arc<dyn Transport>> {
        transport(self.address, way)
    }
}

/// Appends documents to a scope of a storage, [`APPEND`] at a time.
///
/// # Errors
/// As the storage.
pub async fn append(
    storage: &dyn ServerStorage,
    scope: &Scope,
    order: Order,
    documents: usize,
) -> Outcome {
    let now = environment().now();
    let cx = AppendContext {
        drift: std::time::Duration::from_secs(1 << 40),
        ..AppendContext::new(
            now,
            ServerStart(1),
            NewLog { epoch: Epoch([1; 16]), key: LogKey([7; 16]) },
        )
    };
    let (collection, judge) = (documents::collection()?, Arc::new(Open));
    for (n, from) in (0..documents).step_by(APPEND).enumerate() {
        let changes = (from..documents.min(from + APPEND))
            .map(|n| documents::change(order, n, &collection))
            .collect::<Result<_, _>>()?;
        let id = PushId(n as u64 + 1);
        let batch = PushBatch::new(scope.clone(), AUTHOR, id, changes);
        storage.append(cx, batch, judge.clone()).await?;
    }
    Ok(())
}

/// Creates a server's SQLite file with a scope of that many documents.
///
/// # Errors
/// As the storage.
pub async fn fill(
    bench: &mut Bench,
    order: Order,
    documents: usize,
) -> Outcome<std::path::PathBuf> {
    bench.say(format_args!("making a server with {documents} documents, ids {order:?}"));
    let path = bench.path(".server.db");
    let mut config = SqliteConfig::new(&path);
    // Data that a power failure loses can be created again.
    (config.synchronous, config.cache_kib) = (Synchronous::Normal, 256 << 10);
    let storage = tokio::task::spawn_blocking(move || open_server(&config)).await??;
    append(&storage, &Scope::default(), order, documents).await?;
    storage.close().await?;
    Ok(path)
}
