//! Reading a replica's rows.

use std::collections::BTreeMap;

use rusqlite::{Row, params};
use sync_core::error::{Error, Result};
use sync_core::model::{Collection, DocumentId, DocumentKey, LocalSeq, PushId, Scope, Seq};
use sync_core::replica::record::{
    BatchRow, Edit, Pending, QuarantineRow, Record, ReplicaMeta, ScopeRow,
};
use sync_core::replica::rows::{After, OutboxPlace, ReplicaReads};

use super::sql;
use crate::columns::{self, STATE_COLUMNS, bound, page};
use crate::core::Core;
use crate::error::damaged;
use crate::schema::Replica;

/// The first column of a record after its state, and the first one after the record.
const RECORD: usize = STATE_COLUMNS;
const KEY: usize = STATE_COLUMNS + 6;
const PUSHABLE: usize = STATE_COLUMNS + 4;

fn record(row: &Row<'_>) -> Result<Record> {
    let position = |column| columns::unsigned(row, column);
    let negative = |_| damaged("a row is damaged: a number is negative or too large");
    let transaction = columns::optional_integer(row, PUSHABLE)?.map(u64::try_from);
    let transaction = transaction.transpose().map_err(negative)?;
    let pending = columns::optional_decoded(row, RECORD + 5)?;
    Ok(Record {
        current: columns::state(row)?,
        changed: LocalSeq(u64::try_from(columns::integer(row, RECORD)?).unwrap_or(0)),
        server_seq: Seq(position(RECORD + 1)?),
        changed_here: position(RECORD + 2)? != 0,
        delivered: u32::try_from(position(RECORD + 3)?).map_err(negative)?,
        pending: pending.or_else(|| transaction.map(|t| fresh(LocalSeq(t)))).map(Box::new),
    })
}

/// Returns the unsettled state of most documents that were written and not pushed yet.
pub(super) fn fresh(transaction: LocalSeq) -> Pending {
    Pending { edit: Some(Edit::new(transaction, None)), ..Pending::default() }
}

/// Returns a place as text; the empty name is before all names.
fn place<'a>(after: After<'a>) -> (&'a str, &'a str) {
    after.map_or(("", ""), |(collection, id)| (collection.as_str(), id.as_str()))
}

/// Sorts the documents of each transaction, and keeps no more of them than fit into a page.
struct OutboxPage<'a> {
    scope: &'a Scope,
    limit: usize,
    found: Vec<(DocumentKey, Record)>,
    transaction: BTreeMap<(Collection, DocumentId), Record>,
}

impl<'a> OutboxPage<'a> {
    fn new(scope: &'a Scope, limit: usize) -> Self {
        Self { scope, limit, found: Vec::new(), transaction: BTreeMap::new() }
    }

    fn room(&self) -> usize {
        self.limit - self.found.len()
    }

    /// Returns whether a document of this transaction is among the first that fit into the page.
    fn takes(&self, name: &(Collection, DocumentId)) -> bool {
        let last = self.transaction.last_key_value();
        self.transaction.len() < self.room() || last.is_some_and(|(last, _)| name < last)
    }

    fn put(&mut self, name: (Collection, DocumentId), record: Record) {
        self.transaction.insert(name, record);
        if self.transaction.len() > self.room() {
            self.transaction.pop_last();
        }
    }

    fn end_transaction(&mut self) {
        let scope = self.scope;
        let sorted = std::mem::take(&mut self.transaction).into_iter();
        self.found.extend(
            sorted
                .map(|((collection, id), r)| (DocumentKey::new(scope.clone(), collection, id), r)),
        );
    }

    /// Returns whether no further document fits. Only valid after the end of a transaction.
    fn is_full(&self) -> bool {
        self.room() == 0
    }
}

impl<A> Core<Replica, A> {
    /// Visits the collections of a scope, or only the given one, from `from` on in order of their
    /// names, until the visitor returns `false`: a page reads no more names than it needs.
    fn each_collection(
        &self,
        scope: &Scope,
        only: Option<&Collection>,
        from: &str,
        mut visit: impl FnMut((i64, Collection)) -> Result<bool>,
    ) -> Result<()> {
        if let Some(only) = only {
            let number = self.find_collection(scope, only)?.filter(|_| only.as_str() >= from);
            return number.map_or(Ok(()), |number| visit((number, only.clone())).map(drop));
        }
        let decode = |row: &Row<'_>| Ok((columns::integer(row, 0)?, columns::collection(row, 1)?));
        self.each(sql::COLLECTIONS, params![scope.as_str(), from], decode, visit)
    }

    /// Returns a page of documents in order of (collection, id), with a statement that reads those
    /// of one collection.
    fn by_name(
        &self,
        sql: &'static str,
        scope: &Scope,
        collection: Option<&Collection>,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let (from, last_id) = place(after);
        let mut found = Vec::new();
        self.each_collection(scope, collection, from, |(number, collection)| {
            let left = limit - found.len();
            if left == 0 {
                return Ok(false);
            }
            let start = if collection.as_str() == from { last_id } else { "" };
            found.extend(self.many(sql, params![number, start, page(left)], |row| {
                let id: DocumentId = columns::document_id(row, KEY)?;
                Ok((DocumentKey::new(scope.clone(), collection.clone(), id), record(row)?))
            })?);
            Ok(found.len() < limit)
        })?;
        Ok(found)
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
        let Some(collection) = self.find_collection(&key.scope, &key.collection)? else {
            return Ok(None);
        };
        self.one(sql::RECORD, params![collection, key.id.as_str()], record)
    }

    fn records(
        &self,
        scope: &Scope,
        collection: Option<&Collection>,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.note_lookup();
        self.by_name(sql::RECORDS, scope, collection, after, limit)
    }

    fn changed(&self, after: LocalSeq, limit: usize) -> Result<Vec<(DocumentKey, Record)>> {
        self.many(sql::CHANGED, params![bound(after.0), page(limit)], |row| {
            let (scope, collection) = self.name_of(columns::integer(row, KEY + 1)?)?;
            let id = columns::document_id(row, KEY)?;
            Ok((DocumentKey::new(scope, collection, id), record(row)?))
        })
    }

    /// Documents of one transaction are adjacent, in the order in which they were written.
    fn outbox(
        &self,
        scope: &Scope,
        after: Option<&OutboxPlace>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let first = after.map_or(0, |(transaction, ..)| bound(transaction.0));
        let after = after.map(|(_, collection, id)| (collection.clone(), id.clone()));
        let (mut page, mut unit) = (OutboxPage::new(scope, limit), None);
        self.each_row(sql::OUTBOX, params![scope.as_str(), first], |row| {
            let read = || {
                let (_, collection) = self.name_of(columns::integer(row, KEY + 1)?)?;
                let name = (collection, columns::document_id(row, KEY)?);
                Ok((columns::integer(row, PUSHABLE)?, name))
            };
            let (transaction, name) = read().map_err(|e: Error| self.on(e.during("read")))?;
            if unit.replace(transaction).is_some_and(|last| last != transaction) {
                page.end_transaction();
            }
            let is_past = transaction == first && after.as_ref().is_some_and(|a| name <= *a);
            if !is_past && page.takes(&name) {
                page.put(name, record(row).map_err(|e| self.on(e.during("read")))?);
            }
            Ok(!page.is_full())
        })?;
        page.end_transaction();
        Ok(page.found)
    }

    fn deferred(
        &self,
        scope: &Scope,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        self.by_name(sql::DEFERRED, scope, None, after, limit)
    }

    fn batch(&self, scope: &Scope) -> Result<Option<BatchRow>> {
        self.one(sql::BATCH, params![scope.as_str()], |row| columns::decoded(row, 0))
    }

    fn batch_id(&self, scope: &Scope) -> Result<Option<PushId>> {
        self.one(sql::BATCH, params![scope.as_str()], |row| columns::begins_with(row, 0))
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
