//! Writing a replica's rows.

use rusqlite::{Statement, params};
use storage_kit::ReplicaWriter;
use sync_core::error::Result;
use sync_core::model::{DocumentKey, LocalSeq, Scope};
use sync_core::replica::record::{BatchRow, Pending, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_core::replica::rows::{ReplicaReads, ReplicaRows};

use super::reads::fresh;
use super::sql;
use crate::columns::{StateColumns, number, to_blob};
use crate::core::Writing;
use crate::lease;
use crate::place::Place;
use crate::replica::SqliteReplicaWriter;

/// The unsettled state of a document, as columns.
struct PendingColumns {
    scope: Option<i64>,
    pushable: Option<i64>,
    deferred: Option<bool>,
    pending: Option<Vec<u8>>,
}

impl SqliteReplicaWriter {
    fn pending_columns(&self, key: &DocumentKey, record: &Record) -> Result<PendingColumns> {
        let pushable = record.pushable();
        let blob = |pending: &Pending| {
            let says_all = pushable.is_some_and(|transaction| *pending == fresh(transaction));
            (!says_all).then(|| to_blob(pending))
        };
        Ok(PendingColumns {
            scope: record.pending.is_some().then(|| self.intern_scope(&key.scope)).transpose()?,
            pushable: pushable.map(|t| number(t.0)).transpose()?,
            deferred: record.is_deferred().then_some(true),
            pending: record.pending.as_deref().and_then(blob),
        })
    }

    /// Runs a statement that inserts a document for each of these, prepared once. Returns the
    /// indexes of those for which it wrote nothing.
    fn insert_all(&self, sql: &'static str, new: &[(DocumentKey, Record)]) -> Result<Vec<usize>> {
        let mut there = Vec::new();
        let mut statement = self.prepare_cached(sql)?;
        for (at, (key, record)) in new.iter().enumerate() {
            if self.insert_with(&mut statement, key, record)? == 0 {
                there.push(at);
            }
        }
        Ok(there)
    }

    /// Runs a statement that inserts a document, and returns the number of rows.
    fn insert_with(
        &self,
        statement: &mut Statement<'_>,
        key: &DocumentKey,
        new: &Record,
    ) -> Result<usize> {
        let collection = self.intern_collection(&key.scope, &key.collection)?;
        let state = StateColumns::of(new.current.as_ref());
        let unsettled = self.pending_columns(key, new)?;
        let written = statement.execute(params![
            place(new)?,
            collection,
            key.id.as_str(),
            state.stamp,
            state.replica,
            state.author_stamp,
            state.author_replica,
            state.created,
            state.erased,
            number(new.server_seq.0)?,
            new.changed_here,
            new.delivered,
            unsettled.scope,
            unsettled.pushable,
            unsettled.deferred,
            unsettled.pending,
            state.body,
        ]);
        written.map_err(|e| self.failed("write", e))
    }

    /// Writes a document that was in the feed already, by its row.
    fn update(&self, key: &DocumentKey, old: &Record, new: &Record) -> Result<()> {
        let (row, known) = (number(old.changed.0)?, number(new.server_seq.0)?);
        let unsettled = self.pending_columns(key, new)?;
        if old.changed == new.changed && old.current == new.current {
            let marks = params![
                row,
                known,
                new.changed_here,
                new.delivered,
                unsettled.scope,
                unsettled.pushable,
                unsettled.deferred,
                unsettled.pending,
            ];
            return self.run(sql::UPDATE_MARKS, marks).map(drop);
        }
        let state = StateColumns::of(new.current.as_ref());
        let all = params![
            row,
            place(new)?,
            state.stamp,
            state.replica,
            state.author_stamp,
            state.author_replica,
            state.created,
            state.erased,
            known,
            new.changed_here,
            new.delivered,
            unsettled.scope,
            unsettled.pushable,
            unsettled.deferred,
            unsettled.pending,
            state.body,
        ];
        self.run(sql::UPDATE, all).map(drop)
    }
}

/// Returns the place of a document in the feed, if it has one.
fn place(record: &Record) -> Result<Option<i64>> {
    (record.changed > LocalSeq(0)).then(|| number(record.changed.0)).transpose()
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
        if let Some(old) = old.filter(|old| old.changed > LocalSeq(0)) {
            return self.update(key, old, new);
        }
        let mut statement = self.prepare_cached(sql::PUT)?;
        self.insert_with(&mut statement, key, new).map(drop)
    }

    fn insert_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<Vec<usize>> {
        self.insert_all(sql::INSERT, new)
    }

    fn begin_load(&mut self, to_come: u64) -> Result<bool> {
        self.may_load(to_come)
    }

    fn load_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<()> {
        self.insert_all(sql::LOAD, new).map(drop)
    }

    fn end_load(&mut self) -> Result<bool> {
        self.finish_load()
    }

    fn remove_record(&mut self, key: &DocumentKey, _old: &Record) -> Result<()> {
        let collection = self.intern_collection(&key.scope, &key.collection)?;
        self.run(sql::REMOVE, params![collection, key.id.as_str()]).map(drop)
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
