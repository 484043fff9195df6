//! Local writes.

use crate::clock::Now;
use crate::error::{Error, ErrorKind, Result};
use crate::model::WriteLimits;
use crate::model::{Body, DocumentKey, DocumentState, LocalSeq, Revision, Seq, Stamp};
use crate::replica::record::{Edit, Record};
use crate::replica::rows::ReplicaRows;
use crate::replica::rules;
use crate::replica::types::{
    Committed, LocalTransaction, LocalWrite, Origin, WriteOperation, not_found,
};

use super::local;
use super::transaction::RowTransaction;

/// Writes documents, their outbox entries and their bases.
///
/// # Errors
/// `InvalidInput` if the transaction is over the limits, these or the server's, or writes documents
/// of local-only collections outside [`Scope::local`](crate::model::Scope::local) or others inside
/// it; `AlreadyExists`, `NotFound` or `Superseded` as documented for the operations; nothing is
/// written then. Else the errors of the rows.
pub fn write(
    rows: &mut dyn ReplicaRows,
    now: Now,
    limits: &WriteLimits,
    transaction: &LocalTransaction,
) -> Result<Committed> {
    let mut tx = RowTransaction::begin(rows, &transaction.scope)?;
    check(&tx.meta.server_limits.map_or(*limits, |s| limits.min(s)), transaction)?;
    local::check_writes(&tx.meta, transaction)?;
    let unit = tx.meta.last_local.next();
    let mut fresh = Vec::new();
    for write in &transaction.writes {
        let LocalWrite { collection, id, operation } = write;
        let key = DocumentKey::new(tx.scope.clone(), collection.clone(), id.clone());
        if let WriteOperation::Insert(body) = operation {
            let record = fresh_record(&mut tx, now, unit, body.clone());
            fresh.push((key, record));
            continue;
        }
        insert(&mut tx, now, unit, &mut fresh)?;
        let old = tx.rows.record(&key)?;
        let live = old.as_ref().and_then(Record::live);
        let body = match operation {
            WriteOperation::Update(_) | WriteOperation::Replace(..) | WriteOperation::Delete
                if live.is_none() =>
            {
                return Err(not_found(&key, "document"));
            }
            WriteOperation::Replace(at, _) if live.is_some_and(|l| l.revision != *at) => {
                return Err(moved(&key, *at));
            }
            WriteOperation::Insert(body)
            | WriteOperation::Update(body)
            | WriteOperation::Put(body)
            | WriteOperation::Replace(_, body) => Some(body),
            WriteOperation::Delete => None,
            WriteOperation::Erase => {
                erase(&mut tx, now, unit, &key, old)?;
                continue;
            }
        };
        put(&mut tx, now, unit, &key, old, body.cloned())?;
    }
    insert(&mut tx, now, unit, &mut fresh)?;
    tx.finish()
}

fn moved(key: &DocumentKey, expected: Revision) -> Error {
    let message = "the document was written since it was read: read it again, and decide anew";
    Error::new(ErrorKind::Superseded, message).with("document", key).with("read", expected)
}

/// Makes the record of a document that most likely does not exist yet.
fn fresh_record(tx: &mut RowTransaction<'_>, now: Now, unit: LocalSeq, body: Body) -> Record {
    let revision = tx.meta.revision(now, Stamp::ZERO);
    let (created, body) = (revision.stamp, Some(body));
    let current = DocumentState { revision, author: revision, created, body, erased: None };
    let mut record = Record { current: Some(current), ..Record::default() };
    if !tx.scope.is_local() {
        record.pending_mut().edit = Some(Edit::new(unit, None));
    }
    record
}

/// Inserts documents without a lookup first; those that exist already are read afterwards.
fn insert(
    tx: &mut RowTransaction<'_>,
    now: Now,
    unit: LocalSeq,
    fresh: &mut Vec<(DocumentKey, Record)>,
) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    for at in tx.insert_all(fresh, Origin::Local)? {
        let (key, record) = &mut fresh[at];
        let old = tx.rows.record(key)?;
        if old.as_ref().is_some_and(|r| r.live().is_some()) {
            return Err(Error::new(ErrorKind::AlreadyExists, "a document with this id exists")
                .with("document", &*key));
        }
        let body = record.current.take().and_then(|state| state.body);
        put(tx, now, unit, key, old, body)?;
    }
    fresh.clear();
    Ok(())
}

/// Writes one local state of one document.
pub(super) fn put(
    tx: &mut RowTransaction<'_>,
    now: Now,
    unit: LocalSeq,
    key: &DocumentKey,
    old: Option<Record>,
    body: Option<Body>,
) -> Result<()> {
    put_knowing(tx, now, unit, key, old, (body, None))
}

/// As [`put`], for a body that was written with knowledge of an erasure that the record does not
/// have (any more).
pub(super) fn put_knowing(
    tx: &mut RowTransaction<'_>,
    now: Now,
    unit: LocalSeq,
    key: &DocumentKey,
    old: Option<Record>,
    (body, known): (Option<Body>, Option<Revision>),
) -> Result<()> {
    if tx.scope.is_local() {
        return local::put(tx, now, key, old, body);
    }
    let mut record = old.clone().unwrap_or_default();
    if body.is_none() && never_left(&record) {
        // Created and deleted before any batch: it is never pushed.
        record.current = None;
        record.pending = None;
        return tx.save(key, old.as_ref(), record, Origin::Local);
    }
    let parent = record.current.as_ref().map_or(Stamp::ZERO, |c| c.revision.stamp);
    let revision = tx.meta.revision(now, parent);
    let created = record.live().map_or(revision.stamp, |c| c.created);
    let edit = match record.edit() {
        Some(edit) => Edit { transaction: unit, ..edit.clone() },
        _ => {
            let base = record.settled(tx.epoch());
            Edit::new(unit, base)
        }
    };
    let erased = record.erased().max(known);
    record.set_current(Some(DocumentState { revision, author: revision, created, body, erased }));
    record.pending_mut().edit = Some(edit);
    rules::end_if_equal(&mut record);
    tx.save(key, old.as_ref(), record, Origin::Local)
}

/// Erases a document: the tombstone replaces every body that this replica keeps of it, and is
/// pushed like an edit.
pub(super) fn erase(
    tx: &mut RowTransaction<'_>,
    now: Now,
    unit: LocalSeq,
    key: &DocumentKey,
    old: Option<Record>,
) -> Result<()> {
    if tx.scope.is_local() {
        return local::erase(tx, key, old);
    }
    let refused = tx.drop_refused(key)?;
    let Some(old) = old.filter(|r| r.current.is_some()) else {
        // The refused edits are on no other replica.
        return if refused > 0 { tx.erase_told(key) } else { Err(not_found(key, "document")) };
    };
    if never_left(&old) {
        let record = Record { current: None, pending: None, ..old.clone() };
        tx.save(key, Some(&old), record, Origin::Local)?;
        return tx.erase_told(key);
    }
    put_erasure(tx, now, unit, key, Some(old))
}

/// Writes the tombstone of an erasure.
pub(super) fn put_erasure(
    tx: &mut RowTransaction<'_>,
    now: Now,
    unit: LocalSeq,
    key: &DocumentKey,
    old: Option<Record>,
) -> Result<()> {
    let mut record = old.clone().unwrap_or_default();
    let parent = record.current.as_ref().map_or(Stamp::ZERO, |c| c.revision.stamp);
    let revision = tx.meta.revision(now, parent);
    let base = match record.edit() {
        Some(edit) => edit.clone(),
        None => {
            let base = record.settled(tx.epoch());
            Edit::new(unit, base)
        }
    };
    record.set_current(Some(DocumentState {
        revision,
        author: revision,
        created: revision.stamp,
        body: None,
        erased: Some(revision),
    }));
    let pending = record.pending_mut();
    pending.edit = Some(Edit { transaction: unit, ..base });
    // The other side of the conflict is erased with it.
    if std::mem::take(&mut pending.deferred) && pending.in_flight.is_none() {
        pending.pending_remote = None;
    }
    tx.save(key, old.as_ref(), record, Origin::Local)
}

/// Returns whether the document cannot have left this replica.
pub(super) fn never_left(record: &Record) -> bool {
    let Some(pending) = record.pending.as_deref() else { return false };
    let fresh = pending.edit.as_ref().is_some_and(|e| e.base.is_none() && !e.was_sent);
    fresh
        && pending.pending_remote.is_none()
        && pending.in_flight.is_none()
        && record.server_seq == Seq(0)
}

fn check(limits: &WriteLimits, transaction: &LocalTransaction) -> Result<()> {
    let refuse = |what: String| Err(Error::new(ErrorKind::InvalidInput, what).during("write"));
    let LocalTransaction { writes, .. } = transaction;
    let bound = limits.transaction;
    if writes.len() > bound.documents {
        return refuse(format!(
            "a transaction of {} documents is over the limit of {}: it could not travel whole",
            writes.len(),
            bound.documents
        ));
    }
    let mut bytes = 0;
    for write in writes {
        let body = match &write.operation {
            WriteOperation::Insert(b)
            | WriteOperation::Update(b)
            | WriteOperation::Put(b)
            | WriteOperation::Replace(_, b) => b.len(),
            WriteOperation::Delete | WriteOperation::Erase => 0,
        };
        if body > limits.body_bytes {
            return refuse(format!(
                "the body of {}/{} has {body} bytes and {} is the most",
                write.collection, write.id, limits.body_bytes
            ));
        }
        bytes += body + write.collection.as_bytes().len() + write.id.as_bytes().len() + 64;
    }
    if bytes > bound.bytes && writes.len() > 1 {
        return refuse(format!(
            "a transaction of {bytes} bytes is over the limit of {}: it could not travel whole",
            bound.bytes
        ));
    }
    Ok(())
}
