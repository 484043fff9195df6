//! The defaults of a backend that implements only the required methods.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;

use storage_kit::kv::{KvWriter, MemoryKv, ReplicaKv};
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentId, DocumentKey, LocalSeq, PushId, Scope};
use sync_core::model::{DocumentState, ReplicaId, Revision, Stamp};
use sync_core::replica::record::{BatchRow, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_core::replica::rows::{After, OutboxPlace, ReplicaReads, ReplicaRows};

/// Rows that use the default of every method that has one.
struct Plain(ReplicaKv<KvWriter<MemoryKv>>);

impl ReplicaReads for Plain {
    fn meta(&self) -> Result<Option<ReplicaMeta>> {
        self.0.meta()
    }
    fn scope(&self, scope: &Scope) -> Result<Option<ScopeRow>> {
        self.0.scope(scope)
    }
    fn scopes(&self) -> Result<Vec<(Scope, ScopeRow)>> {
        self.0.scopes()
    }
    fn record(&self, key: &DocumentKey) -> Result<Option<Record>> {
        self.0.record(key)
    }
    fn records(
        &self,
        scope: &Scope,
        collection: Option<&Collection>,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.0.records(scope, collection, after, limit)
    }
    fn changed(&self, after: LocalSeq, limit: usize) -> Result<Vec<(DocumentKey, Record)>> {
        self.0.changed(after, limit)
    }
    fn outbox(
        &self,
        scope: &Scope,
        after: Option<&OutboxPlace>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.0.outbox(scope, after, limit)
    }
    fn deferred(
        &self,
        scope: &Scope,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.0.deferred(scope, after, limit)
    }
    fn batch(&self, scope: &Scope) -> Result<Option<BatchRow>> {
        self.0.batch(scope)
    }
    fn quarantine(
        &self,
        scope: &Scope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, QuarantineRow)>> {
        self.0.quarantine(scope, after, limit)
    }
}

impl ReplicaRows for Plain {
    fn put_meta(&mut self, meta: &ReplicaMeta) -> Result<()> {
        self.0.put_meta(meta)
    }
    fn put_scope(&mut self, scope: &Scope, row: &ScopeRow) -> Result<()> {
        self.0.put_scope(scope, row)
    }
    fn remove_scope(&mut self, scope: &Scope) -> Result<()> {
        self.0.remove_scope(scope)
    }
    fn put_record(&mut self, key: &DocumentKey, old: Option<&Record>, new: &Record) -> Result<()> {
        self.0.put_record(key, old, new)
    }
    fn remove_record(&mut self, key: &DocumentKey, old: &Record) -> Result<()> {
        self.0.remove_record(key, old)
    }
    fn put_batch(&mut self, scope: &Scope, batch: Option<&BatchRow>) -> Result<()> {
        self.0.put_batch(scope, batch)
    }
    fn put_quarantine(
        &mut self,
        scope: &Scope,
        ticket: u64,
        row: Option<&QuarantineRow>,
    ) -> Result<()> {
        self.0.put_quarantine(scope, ticket, row)
    }
}

fn plain() -> Plain {
    Plain(ReplicaKv(KvWriter::new(Arc::<MemoryKv>::default())))
}

fn key(id: &str) -> DocumentKey {
    let collection = Collection::new("notes").unwrap();
    DocumentKey::new(Scope::default(), collection, DocumentId::new(id).unwrap())
}

/// A document that was settled at that position.
fn settled(id: &str, seq: u64) -> (DocumentKey, Record) {
    let revision = Revision { stamp: Stamp::new(seq, 0), replica: ReplicaId([2; 16]) };
    let state = DocumentState::new(revision, None);
    let record = Record {
        current: Some(state),
        server_seq: sync_core::model::Seq(seq),
        ..Record::default()
    };
    (key(id), record)
}

#[test]
fn records_are_inserted_one_by_one_and_those_that_are_there_are_named() {
    let mut rows = plain();
    let (there, old) = settled("b", 1);
    rows.put_record(&there, None, &old).unwrap();
    let new = [settled("a", 2), settled("b", 3), settled("c", 4), settled("a", 5)];
    assert_eq!(rows.insert_records(&new).unwrap(), [1, 3]);
    let found = ["a", "b", "c"].map(|id| rows.record(&key(id)).unwrap().unwrap().server_seq.0);
    assert_eq!(found, [2, 1, 4]);
}

#[test]
fn a_load_is_refused_and_what_is_loaded_all_the_same_is_inserted() {
    let mut rows = plain();
    assert!(!rows.begin_load(10).unwrap());
    rows.load_records(&[settled("a", 2)]).unwrap();
    assert_eq!(rows.record(&key("a")).unwrap(), Some(settled("a", 2).1));
    assert!(rows.end_load().unwrap());
    rows.note_erasure().unwrap();
}

#[test]
fn the_name_of_a_batch_is_that_of_its_row() {
    let (mut rows, scope) = (plain(), Scope::default());
    assert_eq!(rows.batch_id(&scope).unwrap(), None);
    let (id, replica) = (PushId(7), ReplicaId([1; 16]));
    let batch = BatchRow { id, replica, keys: vec![key("a")], attempts: 1 };
    rows.put_batch(&scope, Some(&batch)).unwrap();
    assert_eq!(rows.batch_id(&scope).unwrap(), Some(PushId(7)));
}
