//! The client's side.

mod connection;
mod events;
mod http;
mod ladder;
mod line;
mod live;
mod proxy;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::clock::Now;
use sync_core::error::Result;
use sync_core::protocol::{Hello, Welcome};
use sync_core::transport::{Connection, Transport};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{HttpConfig, LiveBy};
use crate::error::broken;
use connection::HttpConnection;
use http::Http;
use ladder::{Ladder, Rules};
use line::Line;

/// The longest heartbeat that a server may set.
const LONGEST_HEARTBEAT: u64 = 60 * 60 * 1_000;
/// The longest wait of a long poll.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The transport of a replica over HTTP.
///
/// Each operation is a separate request; TCP connections are shared and reused. [`LiveBy`] sets how
/// changes are received while a replica follows a scope: by default the transport finds out which
/// ways work on the network.
///
/// ```
/// use transport_http::{HttpConfig, HttpTransport};
/// let transport = HttpTransport::new(HttpConfig::new("http://localhost:7878"))?;
/// # let _ = transport;
/// assert!(HttpTransport::new(HttpConfig::new("ws://localhost")).is_err());
/// # Ok::<(), sync_core::error::Error>(())
/// ```
#[derive(Debug)]
pub struct HttpTransport(Arc<Way>);

/// The shared state of all connections of a transport.
#[derive(Debug)]
struct Way {
    http: Http,
    started: Instant,
    /// The ladder's knowledge about this server.
    ladder: Mutex<Ladder>,
    live_by: watch::Sender<Option<LiveBy>>,
}

impl Way {
    /// Returns a monotonic time.
    fn now(&self) -> Now {
        Now(0).plus(self.started.elapsed())
    }

    fn ladder(&self) -> Ladder {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner).for_another()
    }

    /// Records the findings of a live stream, and its way.
    fn learn(&self, ladder: &Ladder) {
        *self.ladder.lock().unwrap_or_else(PoisonError::into_inner) = ladder.clone();
        let by = LiveBy::from(ladder.rung());
        self.live_by.send_if_modified(|told| {
            let is_new = *told != Some(by);
            if is_new {
                tracing::debug!(?by, before = ?told, "how changes are followed");
            }
            *told = Some(by);
            is_new
        });
    }
}

impl HttpTransport {
    /// Creates a transport to that server. It does not connect yet.
    ///
    /// # Errors
    /// `InvalidInput` if the address, a header, the proxy or a certificate cannot be used.
    pub fn new(config: HttpConfig) -> Result<Self> {
        let rules = Rules {
            live: config.live,
            interval: config.poll_interval,
            wait: config.wait.clamp(Duration::from_secs(1), LONGEST_WAIT),
            fallback: config.fallback.clone(),
        };
        Ok(Self(Arc::new(Way {
            http: Http::new(config)?,
            started: Instant::now(),
            ladder: Mutex::new(Ladder::new(rules)),
            live_by: watch::Sender::new(None),
        })))
    }

    /// Returns how changes are received: none before a live stream was opened, and never
    /// [`LiveBy::Auto`]. If several scopes are followed, it is the way that was used last.
    #[must_use]
    pub fn live_by(&self) -> watch::Receiver<Option<LiveBy>> {
        self.0.live_by.subscribe()
    }
}

#[async_trait]
impl Transport for HttpTransport {
    /// Greets the server. No socket is held open: the connection lasts until it is closed, or until
    /// a request on it does not reach the server.
    ///
    /// The token is sent in a header of each request, and not in the greeting; HTTP has its own
    /// compression.
    async fn connect(&self, mut hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        let token = http::token(hello.token.take().as_deref())?;
        hello.compressions = Vec::new();
        let line = Line::new(Arc::clone(&self.0), &hello, token.clone());
        let welcome = line.greet(hello.clone(), token).await.map_err(|e| e.during("connect"))?;
        if !hello.versions.contains(&welcome.version) {
            return Err(broken("the server speaks a version that was not offered"));
        }
        if welcome.heartbeat == 0 || welcome.heartbeat > LONGEST_HEARTBEAT {
            return Err(broken("the server asks for a heartbeat that cannot be kept"));
        }
        let line = line.with_heartbeat(Duration::from_millis(welcome.heartbeat));
        Ok((Arc::new(HttpConnection::new(line)), welcome))
    }
}
