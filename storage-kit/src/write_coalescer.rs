//! Coalesces the rows that nearly every job writes, the replica's own and its scope's: they are
//! written once for all jobs of a commit.

use std::cell::RefCell;

use super::replica_writer::ReplicaWriter;
use super::transactional::{Durability, Transactional};
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentKey, LocalSeq, PushId, Scope};
use sync_core::replica::record::{BatchRow, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_core::replica::rows::{After, OutboxPlace, ReplicaReads, ReplicaRows};

/// A row after the jobs so far.
#[derive(Clone, Debug)]
struct Cached<T> {
    row: Option<T>,
    /// Whether the core does not have the row yet.
    is_news: bool,
}

/// The cached rows of one transaction. It has few scopes, which are searched linearly.
#[derive(Clone, Debug, Default)]
struct Rows {
    meta: Option<Cached<ReplicaMeta>>,
    scopes: Vec<(Scope, Cached<ScopeRow>)>,
}

impl Rows {
    fn scope(&self, scope: &Scope) -> Option<&Cached<ScopeRow>> {
        self.scopes.iter().find(|(name, _)| name == scope).map(|(_, kept)| kept)
    }

    fn keep(&mut self, scope: &Scope, kept: Cached<ScopeRow>) {
        match self.scopes.iter_mut().find(|(name, _)| name == scope) {
            Some((_, old)) => *old = kept,
            None => self.scopes.push((scope.clone(), kept)),
        }
    }
}

/// A core that writes the replica's own row and the rows of scopes when a transaction ends.
pub(super) struct WriteCoalescer<W> {
    core: W,
    rows: RefCell<Rows>,
    /// The rows at the mark, if a job has written one since.
    marked: Option<Rows>,
}

impl<W: ReplicaWriter> WriteCoalescer<W> {
    pub(super) fn new(core: W) -> Self {
        Self { core, rows: RefCell::default(), marked: None }
    }

    fn clear(&mut self) {
        *self.rows.get_mut() = Rows::default();
        self.marked = None;
    }

    /// Returns the rows, for a job that writes one.
    fn change(&mut self) -> &mut Rows {
        let rows = self.rows.get_mut();
        self.marked.get_or_insert_with(|| rows.clone());
        rows
    }

    /// Writes all cached rows to the core.
    fn flush(&mut self) -> Result<()> {
        let rows = self.rows.get_mut();
        if let Some(Cached { row: Some(meta), .. }) = rows.meta.as_ref().filter(|m| m.is_news) {
            self.core.put_meta(meta)?;
        }
        for (scope, kept) in rows.scopes.iter().filter(|(_, kept)| kept.is_news) {
            if let Some(row) = &kept.row {
                self.core.put_scope(scope, row)?;
            }
        }
        Ok(())
    }
}

impl<W: ReplicaWriter> Transactional for WriteCoalescer<W> {
    fn begin(&mut self, durability: Durability) -> Result<()> {
        self.clear();
        self.core.begin(durability)
    }

    fn mark(&mut self) -> Result<()> {
        self.marked = None;
        self.core.mark()
    }

    fn undo(&mut self) -> Result<()> {
        if let Some(marked) = self.marked.take() {
            *self.rows.get_mut() = marked;
        }
        self.core.undo()
    }

    fn commit(&mut self) -> Result<bool> {
        let told = self.flush();
        self.clear();
        if let Err(error) = told {
            self.core.rollback();
            return Err(error);
        }
        self.core.commit()
    }

    fn rollback(&mut self) {
        self.clear();
        self.core.rollback();
    }

    fn purge_erased(&mut self) -> Result<bool> {
        self.core.purge_erased()
    }

    fn rest(&mut self) {
        self.core.rest();
    }
}

impl<W: ReplicaWriter> ReplicaReads for WriteCoalescer<W> {
    fn meta(&self) -> Result<Option<ReplicaMeta>> {
        if let Some(kept) = &self.rows.borrow().meta {
            return Ok(kept.row.clone());
        }
        let row = self.core.meta()?;
        self.rows.borrow_mut().meta = Some(Cached { row: row.clone(), is_news: false });
        Ok(row)
    }

    fn scope(&self, scope: &Scope) -> Result<Option<ScopeRow>> {
        if let Some(kept) = self.rows.borrow().scope(scope) {
            return Ok(kept.row.clone());
        }
        let row = self.core.scope(scope)?;
        self.rows.borrow_mut().keep(scope, Cached { row: row.clone(), is_news: false });
        Ok(row)
    }

    fn scopes(&self) -> Result<Vec<(Scope, ScopeRow)>> {
        let mut found = self.core.scopes()?;
        for (scope, kept) in self.rows.borrow().scopes.iter().filter(|(_, kept)| kept.is_news) {
            let Some(row) = &kept.row else { continue };
            match found.binary_search_by(|(name, _)| name.cmp(scope)) {
                Ok(at) => found[at].1 = row.clone(),
                Err(at) => found.insert(at, (scope.clone(), row.clone())),
            }
        }
        Ok(found)
    }

    fn record(&self, key: &DocumentKey) -> Result<Option<Record>> {
        self.core.record(key)
    }

    fn records(
        &self,
        scope: &Scope,
        collection: Option<&Collection>,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.core.records(scope, collection, after, limit)
    }

    fn changed(&self, after: LocalSeq, limit: usize) -> Result<Vec<(DocumentKey, Record)>> {
        self.core.changed(after, limit)
    }

    fn outbox(
        &self,
        scope: &Scope,
        after: Option<&OutboxPlace>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.core.outbox(scope, after, limit)
    }

    fn deferred(
        &self,
        scope: &Scope,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.core.deferred(scope, after, limit)
    }

    fn batch(&self, scope: &Scope) -> Result<Option<BatchRow>> {
        self.core.batch(scope)
    }

    fn batch_id(&self, scope: &Scope) -> Result<Option<PushId>> {
        self.core.batch_id(scope)
    }

    fn quarantine(
        &self,
        scope: &Scope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, QuarantineRow)>> {
        self.core.quarantine(scope, after, limit)
    }
}

impl<W: ReplicaWriter> ReplicaRows for WriteCoalescer<W> {
    fn put_meta(&mut self, meta: &ReplicaMeta) -> Result<()> {
        self.change().meta = Some(Cached { row: Some(meta.clone()), is_news: true });
        Ok(())
    }

    fn put_scope(&mut self, scope: &Scope, row: &ScopeRow) -> Result<()> {
        self.change().keep(scope, Cached { row: Some(row.clone()), is_news: true });
        Ok(())
    }

    fn remove_scope(&mut self, scope: &Scope) -> Result<()> {
        self.change().keep(scope, Cached { row: None, is_news: false });
        self.core.remove_scope(scope)
    }

    fn put_record(&mut self, key: &DocumentKey, old: Option<&Record>, new: &Record) -> Result<()> {
        self.core.put_record(key, old, new)
    }

    fn insert_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<Vec<usize>> {
        self.core.insert_records(new)
    }

    fn begin_load(&mut self, to_come: u64) -> Result<bool> {
        self.core.begin_load(to_come)
    }

    fn load_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<()> {
        self.core.load_records(new)
    }

    fn end_load(&mut self) -> Result<bool> {
        self.core.end_load()
    }

    fn remove_record(&mut self, key: &DocumentKey, old: &Record) -> Result<()> {
        self.core.remove_record(key, old)
    }

    fn note_erasure(&mut self) -> Result<()> {
        self.core.note_erasure()
    }

    fn put_batch(&mut self, scope: &Scope, batch: Option<&BatchRow>) -> Result<()> {
        self.core.put_batch(scope, batch)
    }

    fn put_quarantine(
        &mut self,
        scope: &Scope,
        ticket: u64,
        row: Option<&QuarantineRow>,
    ) -> Result<()> {
        self.core.put_quarantine(scope, ticket, row)
    }
}

impl<W: ReplicaWriter> ReplicaWriter for WriteCoalescer<W> {
    fn lock_engine(&mut self) -> Result<()> {
        self.core.lock_engine()
    }

    fn unlock_engine(&mut self) {
        self.core.unlock_engine();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kv::{KvWriter, MemoryKv, ReplicaKv};
    use sync_core::model::ReplicaId;

    type Core = WriteCoalescer<ReplicaKv<KvWriter<MemoryKv>>>;

    fn core() -> (Core, Arc<MemoryKv>) {
        let kv = Arc::new(MemoryKv::default());
        (WriteCoalescer::new(ReplicaKv(KvWriter::new(Arc::clone(&kv)))), kv)
    }

    fn scope(name: &str) -> Scope {
        Scope::new(name).unwrap()
    }

    fn row(documents: u64) -> ScopeRow {
        ScopeRow { documents, ..ScopeRow::default() }
    }

    fn meta(full_pulls: u32) -> ReplicaMeta {
        ReplicaMeta { full_pulls, ..ReplicaMeta::new(ReplicaId([7; 16])) }
    }

    /// Returns the rows in the store, as another reader observes them.
    fn stored(kv: &Arc<MemoryKv>) -> (Option<u32>, Vec<(Scope, u64)>) {
        let core = ReplicaKv(KvWriter::new(Arc::clone(kv)));
        let scopes = core.scopes().unwrap().into_iter().map(|(s, row)| (s, row.documents));
        (core.meta().unwrap().map(|m| m.full_pulls), scopes.collect())
    }

    #[test]
    fn jobs_read_earlier_writes_and_the_store_receives_the_last() {
        let (mut core, kv) = core();
        core.begin(Durability::Power).unwrap();
        for n in 1..=3 {
            core.mark().unwrap();
            let before = core.scope(&scope("a")).unwrap().map_or(0, |row| row.documents);
            assert_eq!(before, n - 1);
            core.put_meta(&meta(n as u32)).unwrap();
            core.put_scope(&scope("a"), &row(n)).unwrap();
            core.put_scope(&scope("b"), &row(9)).unwrap();
        }
        let seen = core.scopes().unwrap();
        assert_eq!(seen, [(scope("a"), row(3)), (scope("b"), row(9))]);
        assert_eq!(stored(&kv), (None, Vec::new()));
        assert!(core.commit().unwrap());
        assert_eq!(stored(&kv), (Some(3), vec![(scope("a"), 3), (scope("b"), 9)]));
    }

    #[test]
    fn an_undone_job_keeps_the_writes_of_others() {
        let (mut core, kv) = core();
        core.begin(Durability::Power).unwrap();
        core.mark().unwrap();
        core.put_meta(&meta(1)).unwrap();
        core.put_scope(&scope("a"), &row(1)).unwrap();
        core.mark().unwrap();
        core.put_meta(&meta(2)).unwrap();
        core.remove_scope(&scope("a")).unwrap();
        core.put_scope(&scope("b"), &row(2)).unwrap();
        core.undo().unwrap();
        assert_eq!(core.meta().unwrap().map(|m| m.full_pulls), Some(1));
        assert_eq!(
            (core.scope(&scope("a")).unwrap(), core.scope(&scope("b")).unwrap()),
            (Some(row(1)), None)
        );
        assert!(core.commit().unwrap());
        assert_eq!(stored(&kv), (Some(1), vec![(scope("a"), 1)]));
    }

    #[test]
    fn nothing_is_left_of_a_removed_scope_or_a_rolled_back_transaction() {
        let (mut core, kv) = core();
        core.begin(Durability::Power).unwrap();
        core.put_scope(&scope("a"), &row(1)).unwrap();
        core.put_scope(&scope("b"), &row(1)).unwrap();
        core.commit().unwrap();
        core.begin(Durability::Power).unwrap();
        core.put_scope(&scope("a"), &row(2)).unwrap();
        core.remove_scope(&scope("a")).unwrap();
        assert_eq!(core.scope(&scope("a")).unwrap(), None);
        assert_eq!(core.scopes().unwrap().len(), 1);
        core.commit().unwrap();
        assert_eq!(stored(&kv).1, [(scope("b"), 1)]);
        core.begin(Durability::Power).unwrap();
        core.put_scope(&scope("b"), &row(3)).unwrap();
        core.rollback();
        core.begin(Durability::Power).unwrap();
        assert_eq!(core.scope(&scope("b")).unwrap(), Some(row(1)));
        assert!(!core.commit().unwrap());
    }
}
