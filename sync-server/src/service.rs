//! The server: connects storage, hooks and tails, request by request.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};
use tokio::sync::{Semaphore, watch};

use super::budget::Budget;
use super::hooks::{Hooks, PushJudge};
use super::ops::AppendContext;
use super::record::{Fork, ServerScope};
use super::tail::{Hub, Hubs};
use crate::ServerStorage;
use serde::Serialize;
use sync_core::clock::DRIFT_BOUND;
use sync_core::environment::Environment;
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{
    Body, Chunk, Epoch, Limits, LogKey, NewLog, PushBatch, Reset, ResetReason, Scope, ServerStart,
    Verdicts,
};
use transport_kit::framed::Compression;

/// How many chunks are read at a time, each of which takes up room before it is known how much.
/// More than a storage has threads for its readers.
const READS_AT_A_TIME: usize = 8;

/// Bounds and times of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The most that a push may hold. Default [`Limits::PUSH`].
    pub push_limits: Limits,
    /// The most that a chunk may hold; never less than a push. Default [`Limits::CHUNK`].
    pub chunk_limits: Limits,
    /// The largest body in bytes. Default [`Limits::BODY_BYTES`].
    pub body_bytes: usize,
    /// The deepest nesting of a body; at most [`Body::DEPTH`], which is the default. A client reads
    /// a body within a chunk, three levels deeper. If the JSON readers of known clients bound the
    /// nesting below that (.NET stops at 64, Ruby at 100), set it to what they accept.
    pub body_depth: usize,
    /// How far ahead of the server's time a stamp may be. Default five minutes.
    pub drift: Duration,
    /// How often either side of a connection sends something. Default 20 s.
    pub heartbeat: Duration,
    /// How long a client that has not greeted may be silent; the whole greeting may take six times
    /// as long. Default 10 s.
    pub greeting_timeout: Duration,
    /// The most scopes that one connection may name. Default 1,000.
    pub scopes: usize,
    /// The most requests of one connection that are served at a time. Default 16.
    pub requests: usize,
    /// The newest changes of a scope that are cached encoded for its listeners, in bytes. Default 4
    /// MiB.
    pub tail_bytes: usize,
    /// The most memory for changes, in bytes: those that are cached for live streams of all scopes
    /// (at most half of it), and those that are being sent to slow readers. A principal may use at
    /// most half of it. A reader for which there is no room waits, and is then refused with the
    /// advice to retry later; one that is up to date is served all the same, because changes of up
    /// to 64 KiB at a time are not counted. Default 128 MiB.
    pub change_memory: usize,
    /// The most memory for batches that were received and wait to be appended; a principal may use
    /// at most half of it. A push for which there is no room is refused with the advice to retry
    /// later. Batches of up to 64 KiB are not counted. Default 128 MiB.
    pub push_memory: usize,
    /// The largest frame payload that is accepted, in bytes. Default 16 MiB.
    pub frame_bytes: usize,
    /// The compressions that are offered.
    pub compressions: Vec<Arc<dyn Compression>>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            push_limits: Limits::PUSH,
            chunk_limits: Limits::CHUNK,
            body_bytes: Limits::BODY_BYTES,
            body_depth: Body::DEPTH,
            drift: DRIFT_BOUND,
            heartbeat: Duration::from_secs(20),
            greeting_timeout: Duration::from_secs(10),
            scopes: 1_000,
            requests: 16,
            tail_bytes: 4 << 20,
            change_memory: 128 << 20,
            push_memory: 128 << 20,
            frame_bytes: transport_kit::framed::MAX_PAYLOAD,
            compressions: Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) storage: Arc<dyn ServerStorage>,
    pub(super) hooks: Hooks,
    pub(super) options: ServerOptions,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) start: ServerStart,
    /// Makes the random values of logs of which nothing is stored yet.
    secret: [u8; 16],
    pub(super) hubs: Hubs,
    pub(super) budget: Arc<Budget>,
    pub(super) incoming: Arc<Budget>,
    /// Bounds the reads of the log at a time.
    pub(super) reads: Semaphore,
    pub(super) draining: watch::Sender<bool>,
    pub(super) sessions: watch::Sender<usize>,
}

/// A server. Cheap to clone; every transport serves the same one.
///
/// ```
/// use std::sync::Arc;
/// use storage_kit::kv::{KvOptions, MemoryKv, open_server};
/// use sync_server::Server;
///
/// let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default())?;
/// let server = Server::builder(Arc::new(storage)).build();
/// # Ok::<(), sync_core::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Server(pub(super) Arc<Inner>);

/// The memory of a server for its clients, in bytes. Small chunks and batches are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerMemory {
    /// Tails of logs, and chunks on their way to readers: at most
    /// [`ServerOptions::change_memory`].
    pub changes: usize,
    /// Batches that are being appended: at most [`ServerOptions::push_memory`].
    pub pushes: usize,
}

impl Server {
    /// Creates a server over a storage. The environment provides the time, and one random number
    /// that marks this start.
    pub(crate) fn new(
        storage: Arc<dyn ServerStorage>,
        hooks: Hooks,
        mut options: ServerOptions,
        environment: Arc<dyn Environment>,
    ) -> Self {
        // A chunk is never cut within an append, so it must hold one.
        options.chunk_limits = options.chunk_limits.max(options.push_limits);
        let has_one = hooks.authenticate.admits_all();
        let budget = Budget::new(options.change_memory, has_one);
        let incoming = Budget::new(options.push_memory, has_one);
        let hubs = Hubs::new(options.tail_bytes, Arc::clone(&budget));
        let start = environment.start();
        let mut secret = [0; 16];
        environment.random(&mut secret);
        let (draining, sessions) = (watch::Sender::new(false), watch::Sender::new(0));
        Self(Arc::new(Inner {
            storage,
            hooks,
            options,
            environment,
            start,
            secret,
            hubs,
            budget,
            incoming,
            reads: Semaphore::new(READS_AT_A_TIME),
            draining,
            sessions,
        }))
    }

    /// Returns the server's options.
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.0.options
    }

    /// Returns whether every client is admitted:
    /// [`Authenticate::admits_all`](super::Authenticate::admits_all).
    #[must_use]
    pub fn admits_all(&self) -> bool {
        self.0.hooks.authenticate.admits_all()
    }

    /// Returns the server's storage.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn ServerStorage> {
        &self.0.storage
    }

    /// Makes all sessions finish their work and send a goodbye.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// Completes when no session is left: after [`drain`](Self::drain), soon.
    pub async fn drained(&self) {
        // The sender lives as long as the server.
        let _ = self.0.sessions.subscribe().wait_for(|n| *n == 0).await;
    }

    /// Counts a session until the returned value is dropped: [`drained`](Self::drained) waits
    /// for it.
    #[must_use]
    pub fn open_session(&self) -> OpenSession {
        self.0.sessions.send_modify(|n| *n += 1);
        OpenSession(self.clone())
    }

    /// Returns a receiver that turns true when the server [drains](Self::drain).
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.0.draining.subscribe()
    }

    /// Returns the memory that is used for clients at this moment.
    #[must_use]
    pub fn memory(&self) -> ServerMemory {
        ServerMemory { changes: self.0.budget.held(), pushes: self.0.incoming.held() }
    }

    pub(super) fn hub(&self, scope: &Scope) -> Arc<Hub> {
        self.0.hubs.open(scope)
    }

    /// Returns the scope's row. A scope begins with its first accepted write; before that it has an
    /// empty row, which is not stored: a read creates nothing.
    pub(super) async fn find_scope(&self, scope: &Scope) -> Result<ServerScope> {
        let found = self.0.storage.find_scope(scope.clone()).await?;
        Ok(found.unwrap_or_else(|| self.empty_scope(scope)))
    }

    /// Returns the row of a scope to which nothing was written yet.
    pub(super) fn empty_scope(&self, scope: &Scope) -> ServerScope {
        ServerScope::beginning_with(self.new_log(scope))
    }

    /// Returns the beginning of a scope's log, if it has not begun: the same from the first read of
    /// the empty scope to its first write, for as long as this process lives. Another process, or
    /// the next start, begins it with another epoch, which resets a replica that holds nothing yet.
    pub(super) fn new_log(&self, scope: &Scope) -> NewLog {
        let of = |what: &[u8]| {
            let mut hasher = SipHasher24::new_with_key(&self.0.secret);
            hasher.write(what);
            hasher.write(scope.as_bytes());
            hasher.finish128().as_bytes()
        };
        NewLog { epoch: Epoch(of(b"epoch")), key: LogKey(of(b"key")) }
    }

    /// Appends a batch, and wakes the sessions that listen. A batch whose mark shows that the log
    /// was restored is not appended: a new epoch begins, and the replica has to reconnect to get
    /// it.
    pub(super) async fn append(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<PushJudge>,
    ) -> Result<Verdicts> {
        let scope = batch.scope.clone();
        let appended = self.0.storage.append(cx, batch, judge).await?;
        if let Some(fork) = appended.fork {
            self.reset_for(&scope, None, fork).await?;
            let message = "the server was restored from a backup, and its log begins a new epoch";
            return Err(Error::new(ErrorKind::Superseded, message)
                .retrying(Retry::Reconnect)
                .with("scope", scope));
        }
        if appended.head > appended.before {
            let chunk = Chunk {
                next: appended.head,
                head: appended.head,
                horizon: appended.horizon,
                mark: appended.mark,
                entries: appended.entries,
                ..Chunk::empty(scope, appended.epoch, appended.before)
            };
            self.0.hubs.append(chunk, appended.erasures);
        }
        Ok(appended.verdicts)
    }

    /// Returns the reset for a replica whose positions are not of this log; a log that was restored
    /// without an announcement begins a new epoch first.
    pub(super) async fn reset_for(
        &self,
        scope: &Scope,
        from_epoch: Option<Epoch>,
        fork: Fork,
    ) -> Result<Reset> {
        let (from, cut) = match fork {
            Fork::Reset(reset) => return Ok(reset),
            Fork::Unannounced { epoch, cut } => (epoch, cut),
        };
        tracing::warn!(%scope, %cut, "the log was restored without a new epoch; one begins now");
        let fresh = self.0.environment.epoch();
        let row = self.0.storage.begin_epoch(scope.clone(), from, cut, fresh).await?;
        if let Some(hub) = self.0.hubs.find(scope) {
            hub.move_head(row.epoch, row.head);
        }
        let cut = from_epoch.map_or_else(Default::default, |e| row.shared_with(e));
        Ok(Reset { epoch: row.epoch, reason: ResetReason::EpochChanged { cut } })
    }
}

/// A session that is open, until this is dropped.
#[derive(Debug)]
pub struct OpenSession(Server);

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.0.sessions.send_modify(|n| *n -= 1);
    }
}
