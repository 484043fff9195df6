//! Executes the engine's commands as futures, whose results are facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::abortable;
use futures_util::{FutureExt, StreamExt};

use super::acknowledgement::ack;
use super::finish::{Connected, Done};
use super::{DriverTask, Kept, Stream};
use crate::clock::{Now, ServerTime};
use crate::engine::{Event, Failure, Output, Ticket};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::model::{Cursor, Epoch, Limits, PushId, Reset, Scope, Seq, Verdicts, WriteLimits};
use crate::protocol::{Goodbye, Greeting, Hello, Pull};
use crate::replica::{Context, Forget};
use crate::transport::Connection;
use tokio::time::timeout;

impl DriverTask {
    pub(super) fn execute(&mut self, output: Output) {
        match output {
            Output::Connect { ticket, scopes } => self.connect(ticket, scopes),
            Output::Disconnect { ticket } => self.disconnect(ticket),
            Output::Pull { scope, ticket, cursor, limits } => {
                let pull = self.request(scope, cursor, limits);
                self.pull(ticket, pull);
            }
            Output::Subscribe { scope, ticket, cursor, limits } => {
                let pull = self.request(scope, cursor, limits);
                self.subscribe(ticket, pull);
            }
            Output::NextLive { scope, ticket } => self.next_live(scope, ticket),
            Output::Unsubscribe { ticket, .. } => {
                if let Some(Stream::Awaited(handle)) = self.streams.remove(&ticket) {
                    handle.abort();
                }
            }
            Output::Apply { scope, payload } => self.apply(scope, payload),
            Output::Discard { payload } => {
                self.payloads.remove(&payload);
            }
            Output::Acknowledge { scope, ticket, settled } => {
                self.acknowledge(scope, ticket, settled);
            }
            Output::NextBatch { scope, limits } => self.form(scope, limits),
            Output::Push { scope, ticket, push } => self.push(scope, ticket, push),
            Output::Settle { scope, ticket, push } => self.settle(scope, ticket, push),
            Output::Refuse { scope, push, epoch, documents } => {
                self.refuse(scope, push, epoch, documents);
            }
            Output::Reset { scope, reset } => self.reset(scope, reset),
            Output::Forget { scope } => self.forget(scope),
            Output::Reidentify => self.reidentify(),
            Output::Emit(event) => self.tell(&event),
        }
    }

    fn tell(&mut self, event: &Event) {
        tracing::debug!(?event, "sync");
        match event {
            Event::InSync => {
                self.status.last_sync = Some(self.parts.environment.now());
                self.status.last_error = None;
            }
            Event::ScopeRefused(scope, kind) => {
                let what = "the server does not serve this scope";
                self.explain(*kind, Retry::Never, Some(scope), what);
            }
            Event::Stalled(scope, failure) => {
                let what = match failure.kind {
                    ErrorKind::Superseded => "the server resets the position repeatedly",
                    _ => "the answers of the server make no progress",
                };
                self.explain(failure.kind, failure.retry, Some(scope), what);
            }
            Event::Disconnected(Failure { kind: ErrorKind::Timeout, retry }) => {
                self.explain(ErrorKind::Timeout, *retry, None, "there was no answer in time");
            }
            Event::Disconnected(Failure { kind: ErrorKind::Superseded, retry }) => {
                let what = "the server answers for another replica, or another epoch of its log";
                self.explain(ErrorKind::Superseded, *retry, None, what);
            }
            Event::Diverged(scope) => {
                let what = "the documents differ from the server's after a full pull";
                let error = Error::new(ErrorKind::Internal, what).with("scope", scope);
                self.status.last_error = Some(error);
            }
            _ => {}
        }
        self.note_attempts(event);
        self.parts.observer.event(event);
    }

    /// Sets the last error for a failure that only the engine has noticed. If another component
    /// has recorded an error of the kind, that one is kept, as it says more.
    fn explain(&mut self, kind: ErrorKind, retry: Retry, scope: Option<&Scope>, what: &str) {
        if self.status.last_error.as_ref().is_some_and(|e| e.kind() == kind) {
            return;
        }
        let error = Error::new(kind, what).retrying(retry);
        self.status.last_error = Some(match scope {
            Some(scope) => error.with("scope", scope),
            None => error,
        });
    }

    fn connect(&mut self, ticket: Ticket, scopes: Vec<Scope>) {
        let tokens = Arc::clone(&self.tokens);
        let (storage, transport) = (self.parts.storage.clone(), self.parts.transport.clone());
        let (schema, agent) = (self.options.schema, self.options.agent.clone());
        let cx = self.context();
        let environment = Arc::clone(&self.parts.environment);
        let (attempt, handle) = abortable(async move {
            let state = storage.state().await?;
            let mut told = BTreeMap::new();
            let greet = |scope: Scope| {
                let checkpoint = state.checkpoint(&scope);
                let (cursor, settled) = (checkpoint.cursor(), checkpoint.seen);
                let ack = ack(&state, &scope, settled).filter(|ack| ack.digest.is_some());
                let digest = ack.as_ref().and_then(|ack| ack.digest);
                told.extend(ack.map(|ack| (scope.clone(), ack)));
                Greeting { scope, cursor, digest }
            };
            let hello = Hello {
                schema,
                agent,
                scopes: scopes.into_iter().map(greet).collect(),
                ..Hello::new(state.replica)
            };
            let asked = hello.scopes.iter().map(|g| (g.scope.clone(), g.cursor.clone())).collect();
            let sent = environment.now();
            let (connection, welcome) = tokens.connect(&*transport, hello).await?;
            let (body_bytes, transaction) = (welcome.body_bytes, welcome.push_limits);
            let limits = WriteLimits { body_bytes, transaction };
            let time = ServerTime { sent, server: Now(welcome.server_time) };
            let cx = Context { now: environment.now(), ..cx };
            storage.note_server(cx, time, limits).await?;
            // The server accepted no acknowledgement of a scope that is refused or reset.
            told.retain(|scope, _| {
                welcome.scopes.iter().any(|w| w.scope == *scope && w.reset.is_none())
            });
            Ok(Connected { connection, welcome, asked, told, last_push: state.last_push })
        });
        self.connecting = Some((ticket, handle));
        let done = move |result| match result {
            Ok(result) => Done::Connected { ticket, result },
            Err(_) => Done::GaveUp,
        };
        self.work.push(attempt.map(done).boxed());
    }

    fn disconnect(&mut self, ticket: Ticket) {
        if let Some((_, handle)) = self.connecting.take_if(|(t, _)| *t == ticket) {
            handle.abort();
        }
        if let Some((_, connection)) = self.connection.take_if(|(t, _)| *t == ticket) {
            let close = async move {
                let why =
                    Goodbye { reason: "the replica begins anew".to_owned(), retry_after: None };
                connection.close(why).await;
                Done::GaveUp
            };
            self.work.push(close.boxed());
        }
    }

    /// Renews the token of the connection if a newer one was given. One renewal at a time.
    pub(super) fn renew(&mut self) {
        let Some((ticket, connection)) = self.connection.as_ref().filter(|_| !self.renewing) else {
            return;
        };
        let Some(token) = self.tokens.to_renew() else { return };
        let (ticket, connection) = (*ticket, Arc::clone(connection));
        self.renewing = true;
        let patience = self.options.engine.request_timeout;
        let renew = async move {
            let renewed = timeout(patience, connection.renew(token.clone())).await;
            let late = |_| Err(Error::new(ErrorKind::Timeout, "there was no answer in time"));
            let result = renewed.unwrap_or_else(late).map_err(|e| e.during("renew the token"));
            Done::Renewed { ticket, token, result }
        };
        self.work.push(renew.boxed());
    }

    fn connection(&self) -> Result<Arc<dyn Connection>> {
        let found = self.connection.as_ref().map(|(_, connection)| Arc::clone(connection));
        found.ok_or_else(|| Error::new(ErrorKind::Network, "there is no connection"))
    }

    fn request(&self, scope: Scope, cursor: Cursor, limits: Limits) -> Pull {
        Pull { scope, cursor, limits: self.options.chunk_limits.min(limits) }
    }

    fn pull(&mut self, ticket: Ticket, pull: Pull) {
        let (connection, scope) = (self.connection(), pull.scope.clone());
        let pull = async move {
            let result = async { connection?.pull(pull).await }.await;
            Done::Delivered { scope, ticket, result, stream: None }
        };
        self.work.push(pull.boxed());
    }

    fn subscribe(&mut self, ticket: Ticket, pull: Pull) {
        let stream = match self.connection() {
            Ok(connection) => connection.live(pull),
            Err(error) => futures_util::stream::once(async move { Err(error) }).boxed(),
        };
        self.streams.insert(ticket, Stream::Idle(stream));
    }

    fn next_live(&mut self, scope: Scope, ticket: Ticket) {
        let Some(Stream::Idle(mut stream)) = self.streams.remove(&ticket) else { return };
        let (next, handle) = abortable(async move {
            let ended = || Error::new(ErrorKind::Network, "the live stream ended");
            let result = stream.next().await.unwrap_or_else(|| Err(ended()));
            (result, stream)
        });
        self.streams.insert(ticket, Stream::Awaited(handle));
        let done = move |next| match next {
            Ok((result, stream)) => Done::Delivered { scope, ticket, result, stream: Some(stream) },
            Err(_) => Done::GaveUp,
        };
        self.work.push(next.map(done).boxed());
    }

    /// Starts work of the storage, which is never dropped.
    pub(super) fn store(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.storing += 1;
        self.work.push(work.boxed());
    }

    fn apply(&mut self, scope: Scope, payload: Ticket) {
        let (storage, cx) = (self.parts.storage.clone(), self.context());
        let chunk = match self.payloads.remove(&payload) {
            Some(Kept::Chunk(chunk)) => Ok(chunk),
            _ => Err(lost("chunk")),
        };
        let apply = async move {
            let result = async { storage.apply(cx, chunk?).await }.await;
            Done::Applied { scope, payload, result }
        };
        self.store(apply);
    }

    /// Acknowledges how far the replica is. What the server already has on this connection, for
    /// example by the greeting, is not sent again: the answer would be the same.
    fn acknowledge(&mut self, scope: Scope, ticket: Ticket, settled: Seq) {
        let wait = if self.goal.live { self.options.acknowledge_every } else { Default::default() };
        let (connection, storage) = (self.connection(), self.parts.storage.clone());
        let link = self.connection.as_ref().map(|(link, _)| *link);
        let before = self.told.get(&scope).cloned();
        let acknowledge = async move {
            tokio::time::sleep(wait).await;
            let state = storage.state().await;
            let ack = state.map(|state| {
                ack(&state, &scope, settled).filter(|ack| Some(ack) != before.as_ref())
            });
            let (told, result) = match (connection, ack) {
                (Ok(connection), Ok(Some(ack))) => {
                    let result = connection.acknowledge(ack.clone()).await;
                    (link.map(|link| (link, ack)), result)
                }
                (Ok(_), Ok(None)) => (None, Ok(None)),
                (Err(error), _) | (_, Err(error)) => (None, Err(error)),
            };
            Done::Acknowledged { scope, ticket, told, result }
        };
        self.work.push(acknowledge.boxed());
    }

    fn form(&mut self, scope: Scope, limits: Limits) {
        let (storage, cx) = (self.parts.storage.clone(), self.context());
        // Limits of zero still allow one transaction: only the engine recalls a batch.
        let least = Limits { documents: 1, bytes: 1 };
        let limits = match limits {
            Limits::NONE => limits,
            limits => self.push_limits.min(limits).max(least),
        };
        let form = async move {
            let result = storage.next_push(cx, scope.clone(), limits).await;
            Done::NextBatch { scope, result }
        };
        self.store(form);
    }

    fn push(&mut self, scope: Scope, ticket: Ticket, push: PushId) {
        let batch =
            self.batches.remove(&scope).filter(|b| b.id == push).ok_or_else(|| lost("batch"));
        let connection = self.connection();
        let push = async move {
            let result = async { connection?.push(batch?).await }.await;
            Done::Pushed { scope, ticket, result }
        };
        self.work.push(push.boxed());
    }

    fn settle(&mut self, scope: Scope, ticket: Ticket, push: PushId) {
        let verdicts = match self.payloads.remove(&ticket) {
            Some(Kept::Verdicts(verdicts)) => Ok(verdicts),
            _ => Err(lost("verdict")),
        };
        self.settle_by(scope, push, verdicts);
    }

    /// Rejects a recalled batch that cannot get smaller: its edits move into the quarantine.
    fn refuse(&mut self, scope: Scope, push: PushId, epoch: Epoch, documents: usize) {
        let said = self.too_large.remove(&scope);
        self.settle_by(scope, push, Ok(Verdicts::too_large(epoch, documents, said)));
    }

    fn settle_by(&mut self, scope: Scope, push: PushId, verdicts: Result<Verdicts>) {
        let (storage, cx) = (self.parts.storage.clone(), self.context());
        let settle = async move {
            let result = async { storage.settle(cx, scope.clone(), push, verdicts?).await }.await;
            Done::Settled { scope, result }
        };
        self.store(settle);
    }

    fn reset(&mut self, scope: Scope, reset: Reset) {
        let (storage, cx) = (self.parts.storage.clone(), self.context());
        let reset = async move {
            let result = async {
                let committed = storage.reset(cx, scope.clone(), reset).await?;
                Ok((committed, storage.state().await?.checkpoint(&scope)))
            }
            .await;
            Done::WasReset { scope, result }
        };
        self.store(reset);
    }

    fn forget(&mut self, scope: Scope) {
        let (storage, now) = (self.parts.storage.clone(), self.parts.environment.now());
        let lease = self.lease;
        let forget = async move {
            let result = storage.forget(now, Some(lease), Forget::Scope(scope.clone())).await;
            Done::Forgotten { scope, result }
        };
        self.store(forget);
    }

    fn reidentify(&mut self) {
        let (storage, cx) = (self.parts.storage.clone(), self.context());
        let id = self.parts.environment.replica_id();
        let reidentify =
            async move { Done::Reidentified { result: storage.reidentify(cx, id).await } };
        self.store(reidentify);
    }

    /// Reads the storage's state after a commit, and informs the engine if an outbox has grown.
    pub(super) fn look_at_outbox(&mut self) {
        if std::mem::replace(&mut self.looking, true) {
            self.look_again = true;
            return;
        }
        let storage = self.parts.storage.clone();
        self.work.push(async move { Done::StateRead { result: storage.state().await } }.boxed());
    }
}

fn lost(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("a {what} that the engine named is not there"))
}
