//! Tests of the transactions of a replica's storage, over rows in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod applying;
mod bounds;
mod choosing;
mod clocks;
mod cuts;
mod full_pulls;
mod leaving;
mod local_only;
mod purging;
mod reading;
mod replacing;
mod resets;
mod unsettled;

use std::sync::Arc;

use storage_kit::kv::{KvWriter, MemoryKv, ReplicaKv};
use sync_core::clock::Now;
use sync_core::model::{
    Body, Chunk, Collection, DocumentId, DocumentKey, DocumentState, Epoch, FencingToken, Limits,
    LogEntry, PushBatch, PushId, ReplicaId, Revision, Scope, Seq, ServerState, Stamp, Verdict,
    VerdictKind, Verdicts, WriteLimits,
};
use sync_core::replica::ops::{apply, initialise, next_push, settle, write};
use sync_core::replica::record::{Record, ReplicaMeta, ScopeRow};
use sync_core::replica::rows::ReplicaReads;
use sync_core::replica::{
    Applied, Committed, Context, LocalTransaction, LocalWrite, WriteOperation,
};
use sync_core::resolver::{Resolvers, ServerWins};

const NOW: Now = Now(1_000_000_000);
const EPOCH: Epoch = Epoch([1; 16]);
const HERE: ReplicaId = ReplicaId([1; 16]);
const THERE: ReplicaId = ReplicaId([2; 16]);

/// One replica, and the arguments of its calls.
struct Replica {
    rows: ReplicaKv<KvWriter<MemoryKv>>,
    cx: Context,
}

impl Replica {
    fn new() -> Self {
        let mut rows = ReplicaKv(KvWriter::new(Arc::<MemoryKv>::default()));
        initialise(&mut rows, HERE).unwrap();
        let resolvers = Resolvers::new(ServerWins);
        Self { rows, cx: Context { now: NOW, resolvers, lease: FencingToken(0) } }
    }

    /// Writes documents of one transaction.
    fn write(&mut self, writes: &[(&str, WriteOperation)]) -> Committed {
        let writes = writes.iter().map(|(id, operation)| {
            LocalWrite::new(collection("notes"), DocumentId::new(*id).unwrap(), operation.clone())
        });
        let transaction = LocalTransaction { scope: Scope::default(), writes: writes.collect() };
        write(&mut self.rows, self.cx.now, &WriteLimits::default(), &transaction).unwrap()
    }

    fn put(&mut self, id: &str, text: &str) -> Committed {
        self.write(&[(id, WriteOperation::Put(body(text)))])
    }

    /// Applies a chunk that begins at the replica's position and ends at its head.
    fn pull(&mut self, next: u64, entries: Vec<LogEntry>) -> Applied {
        let after = self.row().checkpoint.after();
        apply(&mut self.rows, &self.cx, &chunk(after, next, next, entries)).unwrap()
    }

    fn next_push(&mut self) -> Option<PushBatch> {
        next_push(&mut self.rows, &self.cx, &Scope::default(), Limits::PUSH).unwrap()
    }

    /// Applies the same verdict on each change of a batch, from that position on.
    fn settle(&mut self, batch: &PushBatch, seq: u64, kind: &VerdictKind) -> Committed {
        let verdict = |(n, _): (u64, _)| verdict(seq + n, kind.clone(), None);
        let verdicts = (0..).zip(&batch.changes).map(verdict).collect();
        self.settle_with(batch.id, verdicts)
    }

    fn settle_with(&mut self, push: PushId, verdicts: Vec<Verdict>) -> Committed {
        let verdicts = Verdicts::Decided { epoch: EPOCH, mark: None, verdicts };
        settle(&mut self.rows, &self.cx, &Scope::default(), push, &verdicts).unwrap()
    }

    fn record(&self, id: &str) -> Option<Record> {
        self.rows.record(&key(id)).unwrap()
    }

    fn row(&self) -> ScopeRow {
        self.rows.scope(&Scope::default()).unwrap().unwrap_or_default()
    }

    fn meta(&self) -> ReplicaMeta {
        self.rows.meta().unwrap().unwrap()
    }
}

fn chunk(after: Seq, next: u64, head: u64, entries: Vec<LogEntry>) -> Chunk {
    Chunk {
        next: Seq(next),
        head: Seq(head),
        entries,
        ..Chunk::empty(Scope::default(), EPOCH, after)
    }
}

fn collection(name: &str) -> Collection {
    Collection::new(name).unwrap()
}

fn key(id: &str) -> DocumentKey {
    DocumentKey::new(Scope::default(), collection("notes"), DocumentId::new(id).unwrap())
}

fn body(text: &str) -> Body {
    Body::parse(format!("{text:?}")).unwrap()
}

/// A state that another replica wrote so many milliseconds before [`NOW`].
fn state(text: &str, ago: u64) -> DocumentState {
    let revision = Revision { stamp: Stamp::new(NOW.0 - ago, 0), replica: THERE };
    let created = revision.stamp;
    DocumentState { revision, author: revision, created, body: Some(body(text)), erased: None }
}

fn entry(seq: u64, id: &str, state: DocumentState) -> LogEntry {
    let DocumentKey { collection, id, .. } = key(id);
    LogEntry { seq: Seq(seq), collection, id, state }
}

fn verdict(seq: u64, kind: VerdictKind, current: Option<ServerState>) -> Verdict {
    Verdict { seq: Seq(seq), kind, current }
}
