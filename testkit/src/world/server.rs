//! The steps of the server.

use std::fmt;
use sync_server::Visible;

use sync_core::model::{
    Change, Cursor, Digest, DocumentKey, DocumentState, Epoch, Limits, LogEntry, LogKey, NewLog,
    PushBatch, Rejection, Reset, ResetReason, Revision, Scope, Seq, ServerStart, Verdicts,
};
use sync_core::resolver::{Resolution, Resolvers};
use sync_server::ops::{self, Acknowledgement, AppendContext, ChangesReply, Judge, check_cursor};
use sync_server::record::{Fork, ServerRow, ServerScope};
use sync_server::rows::ServerReads;

use super::{Refuse, World, numbered};
use crate::cores::{Cores, look, must, transact};

/// The server's answer to a request for changes.
pub type Reply = sync_core::model::Delivery;

/// The server's answer when a replica connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectResult {
    /// The connection is accepted.
    Welcome,
    /// A reset, because the replica's position is not valid.
    Reset(Reset),
    /// The replica was cloned: its newest push is older than one that the server knows.
    Cloned,
}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushResult {
    /// The verdicts.
    pub verdicts: Verdicts,
    /// The written entries.
    pub entries: Vec<LogEntry>,
}

/// A copy of the server's data.
pub struct Backup<S> {
    pub(super) server: S,
    /// The head at the time of the backup.
    pub head: Seq,
}

impl<S> fmt::Debug for Backup<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A judge that rejects what the options reject, and resolves what the server resolves.
#[doc(hidden)]
pub struct WorldJudge {
    pub refuse: Option<Refuse>,
    pub resolvers: Resolvers,
}

impl fmt::Debug for WorldJudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorldJudge").finish_non_exhaustive()
    }
}

impl Judge for WorldJudge {
    fn admit(&self, change: &Change, _: Option<&DocumentState>) -> Result<(), Rejection> {
        self.refuse.as_ref().and_then(|refuse| refuse(change)).map_or(Ok(()), Err)
    }

    fn resolve(
        &self,
        scope: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Option<Resolution> {
        self.resolvers.decide_pushed(scope, change, current)
    }
}

impl<C: Cores> World<C> {
    pub(super) fn open_server(&mut self) {
        let (epoch, scope) = (self.fresh_epoch(), self.scope.clone());
        let fresh = NewLog { epoch, key: LogKey([7; 16]) };
        let opened = transact(&mut self.server, |rows| ops::open_scope(rows, &scope, fresh));
        must(opened, "the server opens the scope");
    }

    /// Delivers a batch to the server and returns its verdicts.
    pub fn deliver(&mut self, batch: &PushBatch) -> Verdicts {
        self.append(batch).verdicts
    }

    /// Delivers a batch to the server; also returns what it wrote.
    pub fn append(&mut self, batch: &PushBatch) -> PushResult {
        self.step();
        let now = self.server_now();
        // The scope is open: no epoch begins with a push.
        let epoch = Epoch(numbered(0xee, self.fresh + 1));
        let fresh = NewLog { epoch, key: LogKey([7; 16]) };
        let cx = AppendContext {
            drift: self.options.drift,
            ..AppendContext::new(now, self.start, fresh)
        };
        let judge =
            WorldJudge { refuse: self.options.refuse.clone(), resolvers: self.resolvers.clone() };
        let appended = must(
            transact(&mut self.server, |rows| ops::append(rows, &cx, batch, &judge)),
            "append",
        );
        let verdicts = match appended.fork {
            None => appended.verdicts,
            // The push fails, and the replica has to reconnect. Verdicts of an unknown epoch
            // represent that, because they settle nothing.
            Some(fork) => {
                self.answer_fork(batch.mark.as_ref().map(|mark| mark.epoch), fork);
                Verdicts::Decided { epoch: Epoch([0; 16]), mark: None, verdicts: Vec::new() }
            }
        };
        PushResult { verdicts, entries: appended.entries }
    }

    /// Serves a pull. An unannounced fork of the log begins a new epoch.
    pub fn changes(&mut self, cursor: &Cursor, limits: Limits) -> Reply {
        self.changes_seen_by(cursor, limits, &Visible::All)
    }

    /// Serves a pull of a replica, whose own bodies are left out of the answer.
    pub fn changes_for(&mut self, replica: usize, cursor: &Cursor, limits: Limits) -> Reply {
        let own = self.meta(replica).replica;
        match self.changes(cursor, limits) {
            Reply::Chunk(chunk) if cursor.has_own => {
                Reply::Chunk(chunk.without_own(own, 0).unwrap_or(chunk))
            }
            reply => reply,
        }
    }

    /// Serves a pull of a client that may read some collections only.
    pub fn changes_seen_by(&mut self, cursor: &Cursor, limits: Limits, visible: &Visible) -> Reply {
        self.step();
        let scope = self.scope.clone();
        let reply =
            look(&mut self.server, |rows| ops::changes(rows, &scope, cursor, limits, visible));
        match reply {
            ChangesReply::Chunk(chunk) => Reply::Chunk(chunk),
            ChangesReply::Reset(fork) => Reply::Reset(self.answer_fork(cursor.epoch, fork)),
        }
    }

    fn answer_fork(&mut self, of: Option<Epoch>, fork: Fork) -> Reset {
        match fork {
            Fork::Reset(reset) => reset,
            Fork::Unannounced { cut, .. } => {
                let scope = self.begin_epoch(cut);
                let cut = of.map_or(Seq(0), |epoch| scope.shared_with(epoch));
                Reset { epoch: scope.epoch, reason: ResetReason::EpochChanged { cut } }
            }
        }
    }

    fn begin_epoch(&mut self, cut: Seq) -> ServerScope {
        let (fresh, scope) = (self.fresh_epoch(), self.scope.clone());
        let from = self.server_scope().epoch;
        let begun =
            transact(&mut self.server, |rows| ops::begin_epoch(rows, &scope, from, cut, fresh));
        must(begun, "an epoch begins")
    }

    /// Connects a replica.
    pub fn greet(&mut self, replica: usize) -> ConnectResult {
        self.step();
        let cursor = self.cursor(replica);
        let meta = self.meta(replica);
        let scope = self.scope.clone();
        let newest = look(&mut self.server, |rows| rows.push_record(&scope, meta.replica));
        if newest.is_some_and(|record| meta.last_push < record.id) {
            return ConnectResult::Cloned;
        }
        let row = self.server_scope();
        let checked = look(&mut self.server, |rows| check_cursor(rows, &self.scope, &row, &cursor));
        match checked {
            Ok(()) => ConnectResult::Welcome,
            Err(fork) => ConnectResult::Reset(self.answer_fork(cursor.epoch, fork)),
        }
    }

    /// Acknowledges a replica's position, with its digest if it can be compared. Returns a reset if
    /// the digests differ.
    pub fn acknowledge(&mut self, replica: usize) -> Option<Reset> {
        self.step();
        let acknowledgement = self.acknowledgement(replica)?;
        let (scope, id) = (self.scope.clone(), self.meta(replica).replica);
        let acknowledged =
            transact(&mut self.server, |rows| ops::acknowledge(rows, &scope, id, &acknowledgement));
        must(acknowledged, "acknowledge")
            .map(|fork| self.answer_fork(Some(acknowledgement.epoch), fork))
    }

    /// Returns the acknowledgement that [`acknowledge`](Self::acknowledge) sends; none before the
    /// first chunk.
    pub fn acknowledgement(&mut self, replica: usize) -> Option<Acknowledgement> {
        let row = self.scope_row(replica);
        let epoch = row.checkpoint.epoch?;
        let seq = row.checkpoint.after();
        let records = self.records(replica);
        let is_partial = row.left_out || row.checkpoint.collections.is_some();
        let comparable = !is_partial
            && row.pending + row.in_flight + row.deferred == 0
            && records.iter().all(|(_, r)| r.edit().is_none() && r.server_seq <= seq);
        let digest: Option<Digest> = comparable.then_some(row.digest);
        Some(Acknowledgement {
            epoch,
            seq,
            digest,
            mark: row.checkpoint.mark,
            noted: Default::default(),
        })
    }

    /// Purges the tombstones at or below a position and returns their number.
    pub fn purge(&mut self, up_to: Seq) -> u64 {
        self.step();
        let scope = self.scope.clone();
        must(transact(&mut self.server, |rows| ops::purge(rows, &scope, up_to)), "purge")
    }

    /// Copies the server's data.
    pub fn backup(&mut self) -> Backup<C::Server> {
        let server = must(self.cores.copy_server(&self.server), "the backend copies a server");
        Backup { server, head: self.server_scope().head }
    }

    /// Restores the server, as the admin command does it: a new epoch begins, whose cut is the head
    /// of the backup.
    pub fn restore(&mut self, backup: &Backup<C::Server>) {
        self.restore_silently(backup);
        let head = self.server_scope().head;
        self.begin_epoch(head);
    }

    /// Restores the server without an announcement: the epoch stays, and only the id of the
    /// server's start changes.
    pub fn restore_silently(&mut self, backup: &Backup<C::Server>) {
        self.server = must(self.cores.copy_server(&backup.server), "the backend copies a server");
        self.restart_server();
    }

    /// Restarts the server and returns the id of the start.
    pub fn restart_server(&mut self) -> ServerStart {
        self.fresh += 1;
        self.start = ServerStart(self.fresh);
        self.start
    }

    /// Lets the process with that start answer from now on. All processes write the same log.
    pub fn answer_by(&mut self, start: ServerStart) {
        self.start = start;
    }

    /// Returns the server's row about the scope.
    pub fn server_scope(&mut self) -> ServerScope {
        let scope = self.scope.clone();
        let row = look(&mut self.server, |rows| rows.scope(&scope));
        must(row.ok_or("it is not there"), "the server's scope")
    }

    /// Returns the server's documents, by position, tombstones included.
    pub fn server_rows(&mut self) -> Vec<(DocumentKey, ServerRow)> {
        let scope = self.scope.clone();
        look(&mut self.server, |rows| {
            let mut found = Vec::new();
            rows.log(&scope, Seq(0), &mut |(collection, id, row)| {
                found.push((DocumentKey::new(scope.clone(), collection, id), row));
                Ok(true)
            })?;
            Ok(found)
        })
    }

    /// Returns the server's row about a document.
    pub fn server_row(&mut self, name: &str) -> Option<ServerRow> {
        let key = self.key(name);
        look(&mut self.server, |rows| rows.row(&key.scope, &key.collection, &key.id))
    }

    /// Returns the text that the server holds.
    pub fn server_text(&mut self, name: &str) -> Option<String> {
        self.server_row(name).and_then(|row| super::text_of(&row.state))
    }

    /// Returns the revision that the server holds.
    pub fn server_revision(&mut self, name: &str) -> Option<Revision> {
        self.server_row(name).map(|row| row.state.revision)
    }
}
