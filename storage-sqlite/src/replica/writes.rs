//! Writing a replica's rows.

use rusqlite::{Statement, params};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{DocumentKey, LocalSeq, Scope};
use sync_core::replica::record::{BatchRow, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_core::replica::rows::{ReplicaReads, ReplicaRows};
use sync_core::storage::ReplicaWriter;

use super::sql;
use crate::columns::{StateColumns, number, to_blob};
use crate::core::{Place, Writing};
use crate::lease;
use crate::replica::SqliteReplicaWriter;

impl SqliteReplicaWriter {
    /// Runs a statement that inserts a document; how many rows it wrote.
    fn insert_document(
        &self,
        sql: &'static str,
        collection: i64,
        key: &DocumentKey,
        new: &Record,
    ) -> Result<usize> {
        let mut statement = self.prepare_cached(sql)?;
        self.insert_with(&mut statement, collection, key, new)
    }

    pub(super) fn insert_with(
        &self,
        statement: &mut Statement<'_>,
        collection: i64,
        key: &DocumentKey,
        new: &Record,
    ) -> Result<usize> {
        let state = StateColumns::of(new.current.as_ref());
        let written = statement.execute(params![
            collection,
            key.id.as_str(),
            state.stamp,
            state.replica,
            state.author_stamp,
            state.author_replica,
            state.created,
            number(new.known.0)?,
            changed(new)?,
            new.changed_here,
            new.delivered,
            state.body,
            state.erased,
        ]);
        written.map_err(|e| self.failed("write", e))
    }

    /// Writes a document that was read before, by its row.
    fn update(&self, row: i64, key: &DocumentKey, old: &Record, new: &Record) -> Result<()> {
        if !same_document(old, new) {
            let state = StateColumns::of(new.current.as_ref());
            self.run(
                sql::UPDATE,
                params![
                    row,
                    state.stamp,
                    state.replica,
                    state.author_stamp,
                    state.author_replica,
                    state.created,
                    number(new.known.0)?,
                    changed(new)?,
                    new.changed_here,
                    new.delivered,
                    state.body,
                    state.erased,
                ],
            )?;
        }
        match (&old.pending, &new.pending) {
            (Some(_), None) => self.run(sql::REMOVE_UNSETTLED_AT, [row]).map(drop),
            (old, new) if old == new => Ok(()),
            _ => self.put_unsettled_at(row, key, new),
        }
    }

    /// Writes what is not settled about the document in that row.
    fn put_unsettled_at(&self, row: i64, key: &DocumentKey, new: &Record) -> Result<()> {
        let Some(pending) = new.pending.as_deref() else { return Ok(()) };
        let (scope, pushable) = (self.intern_scope(&key.scope)?, pushable(new)?);
        let (collection, id) = (key.collection.as_str(), key.id.as_str());
        let blob = to_blob(pending);
        let row = params![row, scope, collection, id, pushable, pending.deferred, blob];
        self.run(sql::PUT_UNSETTLED_AT, row).map(drop)
    }

    /// Writes what is not settled; the document is there already.
    fn put_unsettled(&self, collection: i64, key: &DocumentKey, new: &Record) -> Result<()> {
        let Some(pending) = new.pending.as_deref() else { return Ok(()) };
        let blob = to_blob(pending);
        let row = params![collection, key.id.as_str(), pushable(new)?, pending.deferred, blob];
        if self.run(sql::PUT_UNSETTLED, row)? == 1 {
            return Ok(());
        }
        let gone = Error::new(ErrorKind::Internal, "a document is gone that was read before");
        Err(self.on(gone.during("write").with("document", key)))
    }
}

fn changed(record: &Record) -> Result<Option<i64>> {
    (record.changed > LocalSeq(0)).then(|| number(record.changed.0)).transpose()
}

fn pushable(record: &Record) -> Result<Option<i64>> {
    record.pushable().map(|t| number(t.0)).transpose()
}

/// Whether two records have the same row in the table of documents.
fn same_document(old: &Record, new: &Record) -> bool {
    let row = |r: &Record| (r.known, r.changed, r.changed_here, r.delivered);
    row(old) == row(new) && old.current == new.current
}

impl ReplicaRows for SqliteReplicaWriter {
    fn put_meta(&mut self, meta: &ReplicaMeta) -> Result<()> {
        self.run(sql::PUT_META, params![to_blob(meta)]).map(drop)
    }

    fn put_scope(&mut self, scope: &Scope, row: &ScopeRow) -> Result<()> {
        self.run(sql::PUT_SCOPE, params![scope.as_str(), to_blob(row)]).map(drop)
    }

    fn remove_scope(&mut self, scope: &Scope) -> Result<()> {
        self.names.borrow_mut().clear();
        for sql in [sql::CLEAR_SCOPE, sql::FORGET_COLLECTIONS, sql::FORGET_SCOPE] {
            self.run(sql, params![scope.as_str()])?;
        }
        Ok(())
    }

    fn put_record(&mut self, key: &DocumentKey, old: Option<&Record>, new: &Record) -> Result<()> {
        let collection = self.intern_collection(&key.scope, &key.collection)?;
        let row = self.names.borrow().row_of(key);
        match (old, row) {
            (Some(old), Some(row)) => return self.update(row, key, old, new),
            (None, _) if self.insert_document(sql::INSERT, collection, key, new)? == 1 => {
                let row = self.connection.last_insert_rowid();
                return self.put_unsettled_at(row, key, new);
            }
            _ => {}
        }
        if !old.is_some_and(|old| same_document(old, new)) {
            self.insert_document(sql::PUT, collection, key, new)?;
        }
        match (old.and_then(|o| o.pending.as_ref()), &new.pending) {
            (Some(_), None) => {
                self.run(sql::REMOVE_UNSETTLED, params![collection, key.id.as_str()]).map(drop)
            }
            (old, new) if old == new.as_ref() => Ok(()),
            _ => self.put_unsettled(collection, key, new),
        }
    }

    fn insert_record(&mut self, key: &DocumentKey, new: &Record) -> Result<bool> {
        let collection = self.intern_collection(&key.scope, &key.collection)?;
        if self.insert_document(sql::INSERT, collection, key, new)? == 0 {
            return Ok(false);
        }
        self.put_unsettled(collection, key, new)?;
        Ok(true)
    }

    /// In the order of the index: neighbours are on the same pages, and the statement is looked up once.
    fn insert_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<Vec<usize>> {
        let mut order = Vec::with_capacity(new.len());
        for (at, (key, _)) in new.iter().enumerate() {
            order.push((self.intern_collection(&key.scope, &key.collection)?, at));
        }
        order.sort_unstable_by_key(|(collection, at)| (*collection, &new[*at].0.id, *at));
        let mut there = Vec::new();
        let mut statement = self.prepare_cached(sql::INSERT)?;
        for (collection, at) in order {
            let (key, record) = &new[at];
            if self.insert_with(&mut statement, collection, key, record)? == 0 {
                there.push(at);
            } else {
                self.put_unsettled(collection, key, record)?;
            }
        }
        Ok(there)
    }

    fn load_records(&mut self, new: &[(DocumentKey, Record)], to_come: u64) -> Result<bool> {
        self.load(new, to_come)
    }

    fn end_load(&mut self) -> Result<bool> {
        self.finish_load()
    }

    fn remove_record(&mut self, key: &DocumentKey, _old: &Record) -> Result<()> {
        self.names.borrow_mut().row = None;
        let collection = self.intern_collection(&key.scope, &key.collection)?;
        for sql in [sql::REMOVE_UNSETTLED, sql::REMOVE] {
            self.run(sql, params![collection, key.id.as_str()])?;
        }
        Ok(())
    }

    fn note_erasure(&mut self) -> Result<()> {
        self.note_untidy()
    }

    fn put_batch(&mut self, scope: &Scope, batch: Option<&BatchRow>) -> Result<()> {
        match batch {
            None => self.run(sql::REMOVE_BATCH, params![scope.as_str()]).map(drop),
            Some(batch) => {
                let row = params![self.intern_scope(scope)?, to_blob(batch)];
                self.run(sql::PUT_BATCH, row).map(drop)
            }
        }
    }

    fn put_quarantine(
        &mut self,
        scope: &Scope,
        ticket: u64,
        row: Option<&QuarantineRow>,
    ) -> Result<()> {
        let ticket = number(ticket)?;
        match row {
            None => self.run(sql::REMOVE_QUARANTINE, params![scope.as_str(), ticket]).map(drop),
            Some(row) => {
                let row = params![self.intern_scope(scope)?, ticket, to_blob(row)];
                self.run(sql::PUT_QUARANTINE, row).map(drop)
            }
        }
    }
}

impl ReplicaWriter for SqliteReplicaWriter {
    fn lock_engine(&mut self) -> Result<()> {
        let Writing { lock, .. } = &mut self.access;
        if lock.take(self.place.as_ref().and_then(Place::lockable))? {
            return Ok(());
        }
        let holder = self.meta()?.map(|m| m.holder).unwrap_or_default();
        Err(lease::busy(&holder, self.file()))
    }

    fn unlock_engine(&mut self) {
        self.access.lock.release();
    }
}
