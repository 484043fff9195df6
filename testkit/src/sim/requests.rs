//! The server's answers, over the framework's own operations.

use std::sync::Arc;
use std::time::Duration;
use sync_server::Visible;

use storage_kit::Durability;
use sync_core::clock::Now;
use sync_core::engine::{Failure, ScopeGreeting};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{
    Chunk, Cursor, Epoch, Limits, LogKey, NewLog, PushBatch, PushId, Rejection, RejectionCode,
    ReplicaId, Reset, ResetReason, Scope, Seq, Stamp, Verdicts,
};
use sync_core::protocol::Pull;
use sync_server::ops::{
    self, Acknowledgement, AppendContext, Appended, ChangesReply, check_cursor,
};
use sync_server::record::{Fork, ServerRow, ServerScope};
use sync_server::rows::ServerReads;

use super::collections::not_visible;
use super::disk::Disks;
use super::fact::Fact;
use super::plan::Refusal;
use super::run::{Run, failure};
use super::wire::{Down, Up};
use crate::world::{Refuse, WorldJudge};

impl<D: Disks> Run<D> {
    pub(super) fn may_see(&self, client: usize, scope: &Scope) -> bool {
        let Some(n) = self.scopes.iter().position(|s| s == scope) else { return false };
        let until = self.server.revoked.get(&(client, n)).copied().unwrap_or(0);
        self.followed(client).contains(&n) && until <= self.now
    }

    /// Returns how a client's requests are refused now.
    pub(super) fn refused(&self, client: usize) -> Option<Refusal> {
        let (until, how) = self.server.refusals.get(&client).copied()?;
        (until > self.now).then_some(how)
    }

    fn refusal(&self, client: usize) -> Option<Failure> {
        Some(match self.refused(client)? {
            Refusal::Unauthenticated => failure(ErrorKind::Unauthenticated, Retry::Never),
            Refusal::Forbidden => failure(ErrorKind::PermissionDenied, Retry::Never),
            Refusal::TooMany => {
                failure(ErrorKind::Overloaded, Retry::Later(Some(Duration::from_secs(2))))
            }
            Refusal::Unavailable => failure(ErrorKind::Overloaded, Retry::Later(None)),
            Refusal::CutPushes
            | Refusal::CutPulls
            | Refusal::Clock
            | Refusal::Cloned
            | Refusal::Misplaced => return None,
        })
    }

    pub(super) fn chunk(&self) -> Limits {
        Limits { documents: self.setting.chunk, ..Limits::CHUNK }
    }

    pub(super) fn greet(
        &mut self,
        client: usize,
        replica: ReplicaId,
        scopes: &[(Scope, Cursor)],
    ) -> Down {
        if let Some(failure) = self.refusal(client) {
            return Down::Failed(failure);
        }
        let mut greetings = Vec::new();
        for (scope, cursor) in scopes {
            if !self.may_see(client, scope) {
                continue;
            }
            match self.greet_scope(replica, scope, cursor) {
                Ok(greeting) => greetings.push(greeting),
                Err(error) => return Down::Failed(Failure::from(&error)),
            }
        }
        Down::Welcome { time: self.server_now().0, scopes: greetings }
    }

    fn greet_scope(
        &mut self,
        replica: ReplicaId,
        scope: &Scope,
        cursor: &Cursor,
    ) -> Result<ScopeGreeting> {
        let mut row = self.open_scope(scope)?;
        let mut reset = None;
        let checked = self.at_server(|rows| check_cursor(rows, scope, &row, cursor));
        if let Some(Err(fork)) = checked {
            reset = Some(self.reset_for(scope, cursor.epoch, fork)?);
            row = self.open_scope(scope)?;
        }
        let last = self.at_server(|rows| rows.push_record(scope, replica)).flatten();
        Ok(ScopeGreeting {
            scope: scope.clone(),
            asked: cursor.clone(),
            epoch: row.epoch,
            head: row.head,
            reset,
            last_push: last.map_or(PushId(0), |record| record.id),
        })
    }

    pub(super) fn open_scope(&mut self, scope: &Scope) -> Result<ServerScope> {
        if let Some(Some(row)) = self.at_server(|rows| ServerReads::scope(rows, scope)) {
            return Ok(row);
        }
        let fresh = self.new_log();
        self.on_server(Durability::Power, |rows| ops::open_scope(rows, scope, fresh))
    }

    fn new_log(&mut self) -> NewLog {
        NewLog { epoch: self.server.fresh_epoch(), key: LogKey([7; 16]) }
    }

    fn reset_for(&mut self, scope: &Scope, of: Option<Epoch>, fork: Fork) -> Result<Reset> {
        let (from, cut) = match fork {
            Fork::Reset(reset) => return Ok(reset),
            Fork::Unannounced { epoch, cut } => (epoch, cut),
        };
        let row = self.begin_epoch(scope, from, cut)?;
        let cut = of.map_or(Seq(0), |e| row.shared_with(e));
        Ok(Reset { epoch: row.epoch, reason: ResetReason::EpochChanged { cut } })
    }

    pub(super) fn begin_epoch(
        &mut self,
        scope: &Scope,
        from: Epoch,
        cut: Seq,
    ) -> Result<ServerScope> {
        let fresh = self.server.fresh_epoch();
        let row = self
            .on_server(Durability::Power, |rows| ops::begin_epoch(rows, scope, from, cut, fresh))?;
        if row.epoch == fresh {
            self.fact(&Fact::Began { scope: scope.clone() });
        }
        Ok(row)
    }

    pub(super) fn read(&mut self, client: usize, pull: &Pull) -> Down {
        match self.try_read(client, pull) {
            Ok(down) => down,
            Err(error) => Down::Failed(Failure::from(&error)),
        }
    }

    fn try_read(&mut self, client: usize, pull: &Pull) -> Result<Down> {
        if let Some(failure) = self.refusal(client) {
            return Ok(Down::Failed(failure));
        }
        if !self.may_see(client, &pull.scope) {
            return Err(Error::new(ErrorKind::PermissionDenied, "this scope may not be seen"));
        }
        self.open_scope(&pull.scope)?;
        let limits = self.chunk();
        let visible = self.visible(client, &pull.scope);
        let reply = self
            .at_server(|rows| ops::changes(rows, &pull.scope, &pull.cursor, limits, &visible))
            .ok_or_else(|| Error::new(ErrorKind::Closed, "the server is down"))?;
        match reply {
            ChangesReply::Chunk(chunk) => {
                let replica = self.clients.get(client).filter(|_| pull.cursor.has_own);
                let own = replica.and_then(|client| chunk.without_own(client.replica, 0));
                let chunk = Arc::new(own.unwrap_or(chunk));
                let told = chunk.entries.iter().map(|e| e.collection.clone()).collect();
                self.note_served(client, &visible, told, Some(Arc::clone(&chunk)));
                Ok(Down::Chunk(chunk))
            }
            ChangesReply::Reset(fork) => {
                Ok(Down::Reset(self.reset_for(&pull.scope, pull.cursor.epoch, fork)?))
            }
        }
    }

    pub(super) fn serve(&mut self, client: usize, replica: Option<ReplicaId>, request: Up) -> Down {
        if let Some(failure) = self.refusal(client) {
            return Down::Failed(failure);
        }
        match request {
            Up::Pull { scope, cursor } => {
                let reply = self.read(client, &Pull { scope, cursor, limits: self.chunk() });
                match reply {
                    Down::Chunk(chunk) if self.refused(client) == Some(Refusal::Misplaced) => {
                        Down::Chunk(Arc::new(misplaced(&chunk)))
                    }
                    reply => reply,
                }
            }
            Up::Push(batch) if !self.may_see(client, &batch.scope) => {
                Down::Failed(failure(ErrorKind::PermissionDenied, Retry::Never))
            }
            Up::Push(_) if self.refused(client) == Some(Refusal::Cloned) => {
                Down::Verdicts(Verdicts::Cloned)
            }
            Up::Push(batch)
                if self.setting.body_limit.is_some_and(|most| batch.weight() > most)
                    && batch.recall.is_none() =>
            {
                Down::Failed(failure(ErrorKind::TooLarge, Retry::Later(None)))
            }
            Up::Push(batch) => match self.append(client, &batch) {
                Ok(verdicts) => Down::Verdicts(verdicts),
                Err(error) => Down::Failed(Failure::from(&error)),
            },
            Up::Ack { scope, ack } => {
                let Some(replica) = replica.filter(|_| self.may_see(client, &scope)) else {
                    return Down::Failed(failure(ErrorKind::PermissionDenied, Retry::Never));
                };
                // A client that reads only a part has another digest, which is correct.
                let sees_all = self.visible(client, &scope) == Visible::All;
                let ack = Acknowledgement { digest: ack.digest.filter(|_| sees_all), ..ack };
                let told = self.on_server(Durability::Process, |rows| {
                    ops::acknowledge(rows, &scope, replica, &ack)
                });
                let told = told.and_then(|fork| {
                    fork.map(|fork| self.reset_for(&scope, Some(ack.epoch), fork)).transpose()
                });
                match told {
                    Ok(reset) => Down::Acknowledged(reset),
                    Err(error) => Down::Failed(Failure::from(&error)),
                }
            }
            _ => Down::Failed(failure(ErrorKind::Protocol, Retry::Reconnect)),
        }
    }

    fn append(&mut self, client: usize, batch: &PushBatch) -> Result<Verdicts> {
        let cx = AppendContext::new(self.server_now(), self.server_start(), self.new_log());
        let held: Vec<Option<ServerRow>> = self
            .at_server(|rows| {
                let row =
                    |c: &sync_core::model::Change| rows.row(&batch.scope, &c.collection, &c.id);
                batch.changes.iter().map(row).collect()
            })
            .unwrap_or_default();
        self.history.begin_step();
        let refuse = self.setting.refusals.then(crate::resolvers::refusing);
        let refuse = refuse.filter(|_| !self.healing);
        let clock = (self.refused(client) == Some(Refusal::Clock)).then(|| rejecting_clock(cx.now));
        let visible = self.visible(client, &batch.scope);
        let refuse = not_visible(visible.clone(), clock.or(refuse));
        let judge = WorldJudge { refuse, resolvers: self.resolvers.clone() };
        let appended =
            self.on_server(Durability::Power, |rows| ops::append(rows, &cx, batch, &judge));
        self.note_calls_of(None, appended.is_ok());
        let Appended { mut verdicts, head, before, entries, fork, .. } = appended?;
        self.withhold(client, batch, &visible, &mut verdicts);
        if let Some(fork) = fork {
            self.reset_for(&batch.scope, None, fork)?;
            let message = "the server was restored from a backup";
            return Err(Error::new(ErrorKind::Superseded, message).retrying(Retry::Reconnect));
        }
        let scope = self.at_server(|rows| ServerReads::scope(rows, &batch.scope)).flatten();
        if let Some(scope) = scope {
            self.tally.appended += entries.len() as u64;
            self.fact(&Fact::Appended {
                batch: batch.clone(),
                held,
                verdicts: verdicts.clone(),
                entries,
                scope,
                now: cx.now.0,
            });
        }
        if head > before {
            self.head_moved(&batch.scope);
        }
        Ok(verdicts)
    }
}

/// Returns an empty chunk at a position far behind the log.
fn misplaced(chunk: &Chunk) -> Chunk {
    let at = Seq(chunk.head.0 + 1_000_000);
    Chunk { after: at, next: at, entries: Vec::new(), ..chunk.clone() }
}

/// Rejects every edit for its stamp.
fn rejecting_clock(now: Now) -> Refuse {
    let code = RejectionCode::Clock { server_time: Stamp::new(now.0, 0) };
    Arc::new(move |_| Some(Rejection { code, reason: "the stamp is refused".to_owned() }))
}
