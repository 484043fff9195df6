//! The server: storage, hooks and tails tied together, request by request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::hooks::{Access, Hooks, Principal, PushJudge};
use super::ops::{Acknowledgement, AppendContext, ChangesReply, check_cursor};
use super::record::{Fork, ServerScope};
use super::tail::{Hub, Hubs, SharedChunk};
use crate::clock::DRIFT_BOUND;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::framed::Compression;
use crate::model::{
    Chunk, Cursor, Limits, PushBatch, PushId, Rejection, RejectionCode, ReplicaId, Reset,
    ResetReason, Scope, Seq, Term, Verdicts,
};
use crate::protocol::{Ack, Hello, Pull, ScopeWelcome, VERSIONS, Welcome};
use crate::storage::{ServerStorage, Visible};

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
    /// How far ahead of the server's time a stamp may be. Default five minutes.
    pub drift: Duration,
    /// How often either side of a connection says something. Default 20 s.
    pub heartbeat: Duration,
    /// The most scopes that one connection may name. Default 1,000.
    pub scopes: usize,
    /// The most requests of one connection that are served at a time. Default 16.
    pub requests: usize,
    /// The newest changes of a scope that are kept encoded for its listeners, in bytes. Default 4 MiB.
    pub tail_bytes: usize,
    /// The largest frame payload that is taken, in bytes. Default 16 MiB.
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
            drift: DRIFT_BOUND,
            heartbeat: Duration::from_secs(20),
            scopes: 1_000,
            requests: 16,
            tail_bytes: 4 << 20,
            frame_bytes: crate::framed::MAX_PAYLOAD,
            compressions: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    storage: Arc<dyn ServerStorage>,
    hooks: Hooks,
    options: ServerOptions,
    environment: Arc<dyn Environment>,
    term: Term,
    hubs: Hubs,
    draining: watch::Sender<bool>,
    sessions: watch::Sender<usize>,
}

/// A server. Cheap to clone; every transport serves the same one.
///
/// ```
/// use std::sync::Arc;
/// use sync_core::environment::System;
/// use sync_core::kv::{KvOptions, MemoryKv, open_server};
/// use sync_core::server::{Hooks, Server, ServerOptions};
///
/// let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default())?;
/// let server = Server::new(Arc::new(storage), Hooks::default(), ServerOptions::default(), Arc::new(System));
/// # Ok::<(), sync_core::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub struct Peer {
    server: Server,
    principal: Principal,
    replica: ReplicaId,
}

/// What a read of the log brought.
#[derive(Clone, Debug)]
pub enum Served {
    /// A chunk.
    Chunk(Arc<SharedChunk>),
    /// The position means nothing.
    Reset(Reset),
}

impl Server {
    /// A server over a storage. The environment gives the time, and one random number that marks this start.
    #[must_use]
    pub fn new(
        storage: Arc<dyn ServerStorage>,
        hooks: Hooks,
        mut options: ServerOptions,
        environment: Arc<dyn Environment>,
    ) -> Self {
        // A chunk is never cut within an append, so it must hold one.
        options.chunk_limits = options.chunk_limits.max(options.push_limits);
        let hubs = Hubs::new(options.tail_bytes);
        let term = environment.term();
        let (draining, sessions) = (watch::Sender::new(false), watch::Sender::new(0));
        Self(Arc::new(Inner { storage, hooks, options, environment, term, hubs, draining, sessions }))
    }

    /// The server's options.
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.0.options
    }

    /// The storage under it.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn ServerStorage> {
        &self.0.storage
    }

    /// Tells all sessions to finish what they are at and to say goodbye.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// Returns when no session is left: after [`drain`](Self::drain), soon.
    pub async fn drained(&self) {
        // The sender lives as long as the server.
        let _ = self.0.sessions.subscribe().wait_for(|n| *n == 0).await;
    }

    /// Counts a session for as long as the answer lives.
    pub(super) fn open_session(&self) -> OpenSession {
        self.0.sessions.send_modify(|n| *n += 1);
        OpenSession(self.clone())
    }

    /// Turns true when the server [drains](Self::drain).
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.0.draining.subscribe()
    }

    /// Lets somebody in who may look at scopes over a plain request.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing or wrong token, `PermissionDenied` for a scope that may not be seen, `NotFound`
    /// for one that nobody has heard of.
    pub async fn look_at(&self, token: Option<&str>, scope: &Scope) -> Result<ServerScope> {
        let principal = self.0.hooks.authenticate.authenticate(token).await?;
        let access = self.0.hooks.authorise.scope(&principal, scope).await?;
        if access.read.is_none() {
            return Err(denied(scope));
        }
        let found = self.0.storage.find_scope(scope.clone()).await?;
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such scope").with("scope", scope)
        })
    }

    /// Greets a replica.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing or wrong token, `Incompatible` if no version of the protocol is shared,
    /// `InvalidInput` for too many scopes.
    pub async fn greet(&self, hello: &Hello) -> Result<(Peer, Welcome)> {
        let options = &self.0.options;
        let version = VERSIONS.iter().rev().find(|v| hello.versions.contains(v)).copied();
        let version = version.ok_or_else(|| {
            Error::new(
                ErrorKind::Incompatible,
                format!(
                    "this server speaks versions {VERSIONS:?} of the protocol, the replica {:?}",
                    hello.versions
                ),
            )
        })?;
        if hello.scopes.len() > options.scopes {
            let message = format!(
                "{} scopes are too many, {} is the most",
                hello.scopes.len(),
                options.scopes
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let principal = self.0.hooks.authenticate.authenticate(hello.token.as_deref()).await?;
        let peer = Peer { server: self.clone(), principal, replica: hello.replica };
        let mut scopes = Vec::new();
        for greeting in &hello.scopes {
            if peer.access(&greeting.scope).await?.read.is_some() {
                scopes.push(peer.greet_scope(&greeting.scope, &greeting.cursor).await?);
            }
        }
        let offered = |name: &String| options.compressions.iter().any(|c| c.name() == name);
        let welcome = Welcome {
            version,
            server_time: self.0.environment.now().0,
            push_limits: options.push_limits,
            chunk_limits: options.chunk_limits,
            body_bytes: options.body_bytes,
            heartbeat: u64::try_from(options.heartbeat.as_millis()).unwrap_or(u64::MAX),
            compression: hello.compressions.iter().find(|c| offered(c)).cloned(),
            scopes,
        };
        Ok((peer, welcome))
    }

    pub(super) fn hub(&self, scope: &Scope) -> Arc<Hub> {
        self.0.hubs.open(scope)
    }

    async fn open_scope(&self, scope: &Scope) -> Result<ServerScope> {
        self.0.storage.scope(scope.clone(), self.0.environment.epoch()).await
    }

    /// Appends a batch, and wakes whoever listens.
    async fn append(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<PushJudge>,
    ) -> Result<Verdicts> {
        let scope = batch.scope.clone();
        let appended = self.0.storage.append(cx, batch, judge).await?;
        if let Some(hub) = self.0.hubs.find(&scope)
            && appended.head > appended.before
        {
            hub.append(Chunk {
                scope,
                epoch: appended.epoch,
                after: appended.before,
                next: appended.head,
                head: appended.head,
                horizon: appended.horizon,
                terms: appended.terms,
                entries: appended.entries,
            });
        }
        Ok(appended.verdicts)
    }

    /// What a replica is told whose positions are not of this log; one that was restored in silence gets a new epoch
    /// first.
    async fn reset_for(
        &self,
        scope: &Scope,
        row: ServerScope,
        cursor: &Cursor,
        fork: Fork,
    ) -> Result<Reset> {
        let cut = match fork {
            Fork::Reset(reset) => return Ok(reset),
            Fork::Unannounced { cut } => cut,
        };
        tracing::warn!(%scope, %cut, "the log was restored without a new epoch; one begins now");
        let fresh = self.0.environment.epoch();
        let row = self.0.storage.begin_epoch(scope.clone(), row.epoch, cut, fresh).await?;
        if let Some(hub) = self.0.hubs.find(scope) {
            hub.move_head(row.epoch, row.head);
        }
        let cut = cursor.epoch.map_or_else(Default::default, |e| row.shared_with(e));
        Ok(Reset { epoch: row.epoch, reason: ResetReason::EpochChanged { cut } })
    }
}

/// A session that is open.
pub(super) struct OpenSession(Server);

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.0.sessions.send_modify(|n| *n -= 1);
    }
}

fn denied(scope: &Scope) -> Error {
    Error::new(ErrorKind::PermissionDenied, "this scope may not be seen").with("scope", scope)
}

impl Peer {
    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    async fn access(&self, scope: &Scope) -> Result<Access> {
        self.server.0.hooks.authorise.scope(&self.principal, scope).await
    }

    async fn visible(&self, scope: &Scope) -> Result<Visible> {
        self.access(scope).await?.read.ok_or_else(|| denied(scope))
    }

    async fn greet_scope(&self, scope: &Scope, cursor: &Cursor) -> Result<ScopeWelcome> {
        let mut row = self.server.open_scope(scope).await?;
        let mut reset = None;
        if let Err(fork) = check_cursor(&row, cursor) {
            let answer = self.server.reset_for(scope, row, cursor, fork).await?;
            reset = Some(answer);
            row = self.server.open_scope(scope).await?;
        }
        let (_, last_push) = self.server.0.storage.replica(scope.clone(), self.replica).await?;
        Ok(ScopeWelcome {
            scope: scope.clone(),
            epoch: row.epoch,
            head: row.head,
            horizon: row.horizon,
            last_push: last_push.unwrap_or(PushId(0)),
            reset,
        })
    }

    /// The chunk after a cursor: from the tail if the cursor stands exactly at one of its chunks, else from the storage.
    ///
    /// # Errors
    /// `PermissionDenied` for a scope that may not be seen; else as the storage.
    pub async fn read(&self, pull: &Pull) -> Result<Served> {
        let visible = self.visible(&pull.scope).await?;
        // A chunk in the tail names the head as it was then: a full pull, which at the head takes away what it was not
        // given, has to hear of the real one.
        let is_full = pull.cursor.after == Seq(0) || pull.cursor.floor.is_some();
        let shares = visible == Visible::All && pull.cursor.backfills.is_empty() && !is_full;
        if let (true, Some(epoch), Some(hub)) =
            (shares, pull.cursor.epoch, self.server.0.hubs.find(&pull.scope))
            && let Some(chunk) = hub.after(epoch, pull.cursor.after)
        {
            return Ok(Served::Chunk(chunk));
        }
        let limits = pull.limits.min(self.server.0.options.chunk_limits);
        let storage = &self.server.0.storage;
        let row = self.server.open_scope(&pull.scope).await?;
        match storage.changes(pull.scope.clone(), pull.cursor.clone(), limits, visible).await? {
            ChangesReply::Chunk(chunk) => Ok(Served::Chunk(SharedChunk::new(chunk))),
            ChangesReply::Fork(fork) => Ok(Served::Reset(
                self.server.reset_for(&pull.scope, row, &pull.cursor, fork).await?,
            )),
        }
    }

    /// Appends a push, and wakes whoever listens.
    ///
    /// A batch that may not be pushed at all is refused change by change, and remembered: it does not block the outbox.
    /// A future that is dropped may still have its effect, and that is told then, too.
    ///
    /// # Errors
    /// `InvalidInput` for a batch of another replica; else as the storage.
    pub async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        let Inner { hooks, options, environment, term, .. } = &*self.server.0;
        if batch.replica != self.replica {
            let message = "the batch belongs to another replica than the connection";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let scope = batch.scope.clone();
        let access = self.access(&scope).await?;
        let judge = PushJudge {
            hooks: hooks.clone(),
            principal: self.principal.clone(),
            scope,
            refuse_all: refusal(&access, &batch, options),
            body_bytes: options.body_bytes,
        };
        let cx = AppendContext {
            now: environment.now(),
            term: *term,
            drift: options.drift,
            fresh: environment.epoch(),
        };
        // A connection that ends drops what it was at, but an append that was begun commits all the same: whoever
        // listens has to hear of it.
        let server = self.server.clone();
        let appended = tokio::spawn(async move { server.append(cx, batch, Arc::new(judge)).await });
        let broke_off = |e| Error::new(ErrorKind::Internal, "the append broke off").because(e);
        appended.await.map_err(broke_off)?
    }

    /// Takes note of how far the replica is.
    ///
    /// # Errors
    /// `PermissionDenied` for a scope that may not be seen; else as the storage.
    pub async fn acknowledge(&self, ack: &Ack) -> Result<Option<Reset>> {
        let visible = self.visible(&ack.scope).await?;
        // Who sees only a part has another digest by right.
        let digest = ack.digest.filter(|_| visible == Visible::All);
        let at = Acknowledgement { epoch: ack.epoch, seq: ack.seq, digest };
        self.server.0.storage.acknowledge(ack.scope.clone(), self.replica, at).await
    }

    /// Goes on as whoever that token belongs to.
    ///
    /// # Errors
    /// `Unauthenticated` for a wrong token.
    pub async fn renew(&mut self, token: &str) -> Result<()> {
        self.principal = self.server.0.hooks.authenticate.authenticate(Some(token)).await?;
        Ok(())
    }
}

/// Why a whole batch is refused for good, if it is.
fn refusal(access: &Access, batch: &PushBatch, options: &ServerOptions) -> Option<Rejection> {
    if access.read.is_none() || !access.write {
        let reason = "this scope may not be written to".to_owned();
        return Some(Rejection { code: RejectionCode::Forbidden, reason });
    }
    let documents = batch.changes.len();
    let bytes: usize = batch.changes.iter().map(crate::model::Change::weight).sum();
    let Limits { documents: most, bytes: most_bytes } = options.push_limits;
    // Base bodies travel on top of what a replica counted.
    if documents > most || (bytes > most_bytes.saturating_mul(2) && documents > 1) {
        let reason = format!(
            "a batch of {documents} documents and {bytes} bytes is over the limit of {most} and {most_bytes}"
        );
        return Some(Rejection { code: RejectionCode::TooLarge, reason });
    }
    None
}
