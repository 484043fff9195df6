//! Reading a replica's rows.

use rusqlite::{Row, params};
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentId, DocumentKey, LocalSeq, Scope, Seq};
use sync_core::replica::record::{BatchRow, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_core::replica::rows::{After, OutboxPlace, ReplicaReads};

use super::sql;
use crate::columns::{self, STATE_COLUMNS, bound, page};
use crate::core::Core;
use crate::error::damaged;
use crate::schema::Replica;

/// The first column after a record's own.
const KEY: usize = STATE_COLUMNS + 5;

fn record(row: &Row<'_>) -> Result<Record> {
    let position = |column| columns::unsigned(row, column);
    let changed = columns::optional_integer(row, STATE_COLUMNS + 1)?.unwrap_or(0);
    let negative = |_| damaged("a row is damaged: a position is negative or too large");
    Ok(Record {
        current: columns::state(row)?,
        known: Seq(position(STATE_COLUMNS)?),
        changed: LocalSeq(u64::try_from(changed).map_err(negative)?),
        changed_here: position(STATE_COLUMNS + 2)? != 0,
        delivered: u32::try_from(position(STATE_COLUMNS + 3)?).map_err(negative)?,
        pending: columns::optional_decoded(row, STATE_COLUMNS + 4)?.map(Box::new),
    })
}

/// A record whose row names its id and its collection.
fn unsettled(scope: &Scope, row: &Row<'_>) -> Result<(DocumentKey, Record)> {
    let (id, collection) = (columns::document_id(row, KEY)?, columns::collection(row, KEY + 1)?);
    Ok((DocumentKey::new(scope.clone(), collection, id), record(row)?))
}

/// A place as text; before all names is the empty one.
fn place<'a>(after: After<'a>) -> (&'a str, &'a str) {
    after.map_or(("", ""), |(collection, id)| (collection.as_str(), id.as_str()))
}

impl<A> Core<Replica, A> {
    /// The collections of a scope, or that one of them, from `from` on in order of their names.
    fn collections(
        &self,
        scope: &Scope,
        only: Option<&Collection>,
        from: &str,
    ) -> Result<Vec<(i64, Collection)>> {
        let only = only.map(Collection::as_str);
        let from = only.map_or(from, |only| only.max(from));
        self.many(sql::COLLECTIONS, params![scope.as_str(), from, only], |row| {
            Ok((columns::integer(row, 0)?, columns::collection(row, 1)?))
        })
    }
}

impl<A> ReplicaReads for Core<Replica, A> {
    fn meta(&self) -> Result<Option<ReplicaMeta>> {
        self.one(sql::META, [], |row| columns::decoded(row, 0))
    }

    fn scope(&self, scope: &Scope) -> Result<Option<ScopeRow>> {
        let row =
            self.one(sql::SCOPE, params![scope.as_str()], |row| columns::optional_decoded(row, 0))?;
        Ok(row.flatten())
    }

    fn scopes(&self) -> Result<Vec<(Scope, ScopeRow)>> {
        self.many(sql::SCOPES, [], |row| Ok((columns::scope(row, 0)?, columns::decoded(row, 1)?)))
    }

    fn record(&self, key: &DocumentKey) -> Result<Option<Record>> {
        self.note_lookup();
        self.names.borrow_mut().row = None;
        let Some(collection) = self.find_collection(&key.scope, &key.collection)? else {
            return Ok(None);
        };
        let read = |row: &Row<'_>| Ok((columns::integer(row, KEY)?, record(row)?));
        let found = self.one(sql::RECORD, params![collection, key.id.as_str()], read)?;
        Ok(found.map(|(row, record)| {
            self.names.borrow_mut().row = Some((key.clone(), row));
            record
        }))
    }

    fn records(
        &self,
        scope: &Scope,
        collection: Option<&Collection>,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.note_lookup();
        let (from, last_id) = place(after);
        let mut found = Vec::new();
        for (number, collection) in self.collections(scope, collection, from)? {
            let left = limit - found.len();
            if left == 0 {
                break;
            }
            let start = if collection.as_str() == from { last_id } else { "" };
            found.extend(self.many(sql::RECORDS, params![number, start, page(left)], |row| {
                let id: DocumentId = columns::document_id(row, KEY)?;
                Ok((DocumentKey::new(scope.clone(), collection.clone(), id), record(row)?))
            })?);
        }
        Ok(found)
    }

    fn changed(&self, after: LocalSeq, limit: usize) -> Result<Vec<(DocumentKey, Record)>> {
        self.many(sql::CHANGED, params![bound(after.0), page(limit)], |row| {
            let (scope, collection) = self.name_of(columns::integer(row, KEY + 1)?)?;
            let id = columns::document_id(row, KEY)?;
            Ok((DocumentKey::new(scope, collection, id), record(row)?))
        })
    }

    fn outbox(
        &self,
        scope: &Scope,
        after: Option<&OutboxPlace>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let transaction = after.map_or(-1, |(transaction, ..)| bound(transaction.0));
        let (collection, id) = place(after.map(|(_, collection, id)| (collection, id)));
        let wanted = params![scope.as_str(), transaction, collection, id, page(limit)];
        self.many(sql::OUTBOX, wanted, |row| unsettled(scope, row))
    }

    fn deferred(
        &self,
        scope: &Scope,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let (collection, id) = place(after);
        let wanted = params![scope.as_str(), collection, id, page(limit)];
        self.many(sql::DEFERRED, wanted, |row| unsettled(scope, row))
    }

    fn batch(&self, scope: &Scope) -> Result<Option<BatchRow>> {
        self.one(sql::BATCH, params![scope.as_str()], |row| columns::decoded(row, 0))
    }

    fn quarantine(
        &self,
        scope: &Scope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, QuarantineRow)>> {
        let wanted = params![scope.as_str(), bound(after), page(limit)];
        self.many(sql::QUARANTINE, wanted, |row| {
            Ok((columns::unsigned(row, 0)?, columns::decoded(row, 1)?))
        })
    }
}
