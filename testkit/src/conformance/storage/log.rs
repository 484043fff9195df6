//! A server's log that a case controls: it makes the chunks and verdicts that a storage is given.

use std::collections::BTreeMap;

use sync_core::model::{
    Chunk, DocumentState, Epoch, LogEntry, PushBatch, Rejection, RejectionCode, Scope, Seq,
    ServerState, Verdict, VerdictKind, Verdicts,
};

use super::super::tools::{entry, key};

/// Every document once, at its newest position.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) scope: Scope,
    pub(super) epoch: Epoch,
    head: u64,
    entries: BTreeMap<Seq, LogEntry>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            scope: Scope::default(),
            epoch: Epoch([0xe0; 16]),
            head: 0,
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    fn add(&mut self, entry: LogEntry) -> Seq {
        self.head += 1;
        let seq = Seq(self.head);
        self.entries.retain(|_, e| e.id != entry.id || e.collection != entry.collection);
        self.entries.insert(seq, LogEntry { seq, ..entry });
        seq
    }

    /// Adds a write by another replica, and returns its state.
    pub(super) fn put(&mut self, name: &str, json: &str) -> DocumentState {
        let entry = entry(0, name, Some(json));
        let state = entry.state.clone();
        self.add(entry);
        state
    }

    /// Adds this state of a document, as another replica wrote it.
    pub(super) fn set(&mut self, name: &str, state: DocumentState) {
        self.add(LogEntry { state, ..entry(0, name, None) });
    }

    /// Adds a deletion by another replica.
    pub(super) fn delete(&mut self, name: &str) {
        self.add(entry(0, name, None));
    }

    /// Adds that many documents `PREFIX-00000` and so on.
    pub(super) fn fill(&mut self, prefix: &str, count: usize) {
        for n in 0..count {
            self.put(&format!("{prefix}-{n:05}"), &n.to_string());
        }
    }

    /// Returns the chunk between two positions.
    pub(super) fn chunk(&self, after: u64, next: u64) -> Chunk {
        let entries = self.entries.values().filter(|e| after < e.seq.0 && e.seq.0 <= next);
        Chunk {
            next: Seq(next),
            head: Seq(self.head),
            entries: entries.cloned().collect(),
            ..Chunk::empty(self.scope.clone(), self.epoch, Seq(after))
        }
    }

    /// Returns everything after a position.
    pub(super) fn rest(&self, after: u64) -> Chunk {
        self.chunk(after, self.head)
    }

    /// Returns the server's state of a document.
    pub(super) fn current(&self, name: &str) -> ServerState {
        let key = key(name);
        let found =
            self.entries.values().find(|e| e.id == key.id && e.collection == key.collection);
        ServerState {
            seq: found.map_or(Seq(self.head), |e| e.seq),
            state: found.map(|e| e.state.clone()),
        }
    }

    /// Accepts every change of a batch.
    pub(super) fn accept(&mut self, batch: &PushBatch) -> Verdicts {
        let mut verdicts = Vec::new();
        for change in &batch.changes {
            let (collection, id) = (change.collection.clone(), change.id.clone());
            let state = change.state.clone();
            let seq = self.add(LogEntry { seq: Seq(0), collection, id, state });
            verdicts.push(Verdict { seq, kind: VerdictKind::Accepted, current: None });
        }
        self.decided(verdicts)
    }

    /// Rejects every change of a batch.
    pub(super) fn reject(&self, batch: &PushBatch) -> Verdicts {
        let rejection =
            Rejection { code: RejectionCode::Invalid, reason: "not a document".to_owned() };
        let kind = VerdictKind::Rejected(rejection);
        let verdict = Verdict { seq: Seq(self.head), kind, current: None };
        self.decided(vec![verdict; batch.changes.len()])
    }

    /// Answers every change of a batch with the current state.
    pub(super) fn conflict(&self, batch: &PushBatch) -> Verdicts {
        let verdicts = batch.changes.iter().map(|change| {
            let current = self.current(&format!("{}/{}", change.collection, change.id));
            Verdict { seq: current.seq, kind: VerdictKind::Conflict, current: Some(current) }
        });
        self.decided(verdicts.collect())
    }

    pub(super) fn decided(&self, verdicts: Vec<Verdict>) -> Verdicts {
        Verdicts::Decided { epoch: self.epoch, mark: None, verdicts }
    }
}
