//! Tests of the transactions of a server's storage, over rows in memory.

mod check_base;
mod chunks;
mod clocks;
mod deciding;
mod doubled;
mod erasing;
mod lives;
mod retrying;
mod scopes;
mod unstamped;

use std::sync::Mutex;
use std::time::Duration;

use super::{AppendContext, Appended, Judge, append, read_scope};
use crate::record::{ServerRow, ServerScope};
use crate::rows::ServerReads;
use crate::rows::memory::MemoryRows;
use sync_core::clock::Now;
use sync_core::model::{
    BaseRef, Body, Change, Collection, DocumentId, DocumentState, Epoch, LogKey, NewLog, PushBatch,
    PushId, Rejection, RejectionCode, ReplicaId, Revision, Scope, Seq, ServerStart, Stamp, Verdict,
    Verdicts,
};
use sync_core::resolver::Resolution;

const FIRST: Epoch = Epoch([1; 16]);
const FRESH: NewLog = NewLog { epoch: FIRST, key: LogKey([7; 16]) };
const REPLICA: ReplicaId = ReplicaId([9; 16]);

/// Decides as the test sets, and records the conflicts that it was called for.
#[derive(Debug)]
struct Told {
    refuses: fn(&Change) -> bool,
    resolution: Option<Resolution>,
    asked: Mutex<Vec<Change>>,
}

impl Judge for Told {
    fn admit(&self, change: &Change, _: Option<&DocumentState>) -> Result<(), Rejection> {
        let (code, reason) = (RejectionCode::Forbidden, "the test refuses it".to_owned());
        if (self.refuses)(change) { Err(Rejection { code, reason }) } else { Ok(()) }
    }

    fn resolve(&self, _: &Scope, change: &Change, _: Option<&DocumentState>) -> Option<Resolution> {
        self.asked.lock().unwrap().push(change.clone());
        self.resolution.clone()
    }
}

/// One log at the time 1,000, and the replica that pushes to it.
struct Log {
    rows: MemoryRows,
    cx: AppendContext,
    judge: Told,
    pushed: u64,
}

impl Log {
    fn new() -> Self {
        let drift = Duration::from_millis(500);
        let judge = Told { refuses: |_| false, resolution: None, asked: Mutex::new(Vec::new()) };
        Self {
            rows: MemoryRows::default(),
            cx: AppendContext { drift, ..AppendContext::new(Now(1_000), ServerStart(1), FRESH) },
            judge,
            pushed: 0,
        }
    }

    fn batch(&mut self, changes: Vec<Change>) -> PushBatch {
        self.pushed += 1;
        let (scope, id) = (Scope::default(), PushId(self.pushed));
        PushBatch::new(scope, REPLICA, id, changes)
    }

    fn append(&mut self, batch: &PushBatch) -> Appended {
        append(&mut self.rows, &self.cx, batch, &self.judge).unwrap()
    }

    fn push(&mut self, changes: Vec<Change>) -> Appended {
        let batch = self.batch(changes);
        self.append(&batch)
    }

    /// Returns the verdict on a change that is pushed alone.
    fn decide(&mut self, change: Change) -> Verdict {
        decided(self.push(vec![change]).verdicts).remove(0)
    }

    /// Writes a document that does not exist, or that equals the row.
    fn put(&mut self, id: &str, state: DocumentState) -> ServerRow {
        let base = self.row(id).map(|row| self.on(&row));
        self.push(vec![change(id, base, state)]);
        self.row(id).unwrap()
    }

    /// The base of an edit that is made on that row.
    fn on(&self, row: &ServerRow) -> BaseRef {
        BaseRef::of(&row.state, self.scope().epoch, row.seq)
    }

    fn row(&self, id: &str) -> Option<ServerRow> {
        let id = DocumentId::new(id).unwrap();
        self.rows.row(&Scope::default(), &collection("notes"), &id).unwrap()
    }

    fn scope(&self) -> ServerScope {
        read_scope(&self.rows, &Scope::default()).unwrap()
    }
}

fn decided(verdicts: Verdicts) -> Vec<Verdict> {
    match verdicts {
        Verdicts::Decided { verdicts, .. } => verdicts,
        other => panic!("{other:?}"),
    }
}

fn collection(name: &str) -> Collection {
    Collection::new(name).unwrap()
}

fn body(text: &str) -> Body {
    Body::parse(format!("{text:?}")).unwrap()
}

fn revision(stamp: u64) -> Revision {
    Revision { stamp: Stamp::new(stamp, 0), replica: REPLICA }
}

/// A state that was written at that time, with that text.
fn written(stamp: u64, text: &str) -> DocumentState {
    let (revision, body) = (revision(stamp), Some(body(text)));
    DocumentState::new(revision, body)
}

fn deleted(stamp: u64) -> DocumentState {
    written(stamp, "").without_body()
}

/// The tombstone by which a document was erased at that time.
fn erased(stamp: u64) -> DocumentState {
    DocumentState { erased: Some(revision(stamp)), ..deleted(stamp) }
}

fn change(id: &str, base: Option<BaseRef>, state: DocumentState) -> Change {
    let id = DocumentId::new(id).unwrap();
    Change { collection: collection("notes"), id, base, base_body: None, state }
}

/// A base that is not what the log holds.
fn elsewhere(epoch: Epoch) -> Option<BaseRef> {
    Some(BaseRef { revision: revision(1), epoch, seq: Seq(1), tombstone: false })
}
