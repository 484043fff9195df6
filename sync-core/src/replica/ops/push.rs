//! Forms a batch, and settles it.

use std::collections::BTreeSet;

use super::transaction::{RowTransaction, read_meta};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    BaseRef, Change, DocumentKey, DocumentState, Limits, PushBatch, PushId, RejectionCode, Scope,
    Verdict, VerdictKind, Verdicts, digest_of, digest_of_state,
};
use crate::replica::failures::Failures;
use crate::replica::record::{BatchRow, Carried, Edit, InFlight, Record};
use crate::replica::rows::{OutboxPlace, ReplicaReads, ReplicaRows};
use crate::replica::rules::{self, RuleContext};
use crate::replica::settling;
use crate::replica::stamping;
use crate::replica::types::{Committed, Context, Origin, check_lease};
use crate::resolver::Resolvers;

/// Returns the batch in flight of a scope, or else a new one of the oldest entries of its outbox;
/// none if there is nothing to push.
///
/// A batch in flight never changes. If it is over the limits and holds more than one local
/// transaction, its recall is returned instead: once the server has promised not to apply it,
/// smaller ones are formed. The recall is not stored: a later call with larger limits returns
/// the batch itself again, and the server answers as it answered the recall.
///
/// # Errors
/// `Superseded` for an old lease. Else the errors of the rows.
pub fn next_push(
    rows: &mut dyn ReplicaRows,
    cx: &Context,
    scope: &Scope,
    limits: Limits,
) -> Result<Option<PushBatch>> {
    let meta = read_meta(rows)?;
    check_lease(cx.lease, meta.lease)?;
    if let Some(mut batch) = rows.batch(scope)? {
        batch.attempts = batch.attempts.saturating_add(1);
        rows.put_batch(scope, Some(&batch))?;
        let read = read_batch(rows, &cx.resolvers, scope, &batch, limits)?;
        return Ok(Some(read));
    }
    if limits == Limits::NONE {
        return Ok(None);
    }
    let chosen = select_changes(rows, &cx.resolvers, scope, limits)?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let mut tx = RowTransaction::begin_synced(rows, scope)?;
    tx.meta.last_push = tx.meta.last_push.next();
    let id = tx.meta.last_push;
    let batch = BatchRow {
        id,
        replica: tx.meta.replica,
        keys: chosen.iter().map(|(key, _)| key.clone()).collect(),
        attempts: 1,
    };
    let mut changes = Vec::with_capacity(chosen.len());
    for (key, old) in chosen {
        let mut record = put_in_flight(&mut tx, cx, id, old.clone());
        record.normalize();
        changes.push(read_change(&cx.resolvers, &key, &record)?);
        tx.save(&key, Some(&old), record, Origin::Local)?;
    }
    tx.rows.put_batch(scope, Some(&batch))?;
    let mark = tx.row.checkpoint.mark.clone();
    tx.finish()?;
    let (scope, replica) = (scope.clone(), batch.replica);
    Ok(Some(PushBatch { scope, replica, id, changes, recall: None, mark }))
}

/// Selects whole local transactions from the front of the outbox, as many as the limits allow, at
/// least one.
fn select_changes(
    rows: &dyn ReplicaReads,
    resolvers: &Resolvers,
    scope: &Scope,
    limits: Limits,
) -> Result<Vec<(DocumentKey, Record)>> {
    const PAGE: usize = 256;
    let row = rows.scope(scope)?.unwrap_or_default();
    if row.pending == 0 {
        return Ok(Vec::new());
    }
    let mut chosen: Vec<(DocumentKey, Record)> = Vec::new();
    let (mut whole, mut bytes) = (0, 0);
    let mut place: Option<OutboxPlace> = None;
    loop {
        let page = rows.outbox(scope, place.as_ref(), PAGE)?;
        let is_last = page.len() < PAGE;
        for (key, record) in page {
            let Some(transaction) = record.pushable() else { continue };
            if place.as_ref().is_some_and(|(last, ..)| *last != transaction) {
                whole = chosen.len();
            }
            place = Some((transaction, key.collection.clone(), key.id.clone()));
            if !row.checkpoint.includes(&key.collection) {
                continue;
            }
            let base =
                record.edit().and_then(|e| e.base.as_ref()).and_then(|b| b.state.body.as_ref());
            let base = base.filter(|_| resolvers.sends_base(&key.collection));
            bytes += record.current.as_ref().map_or(0, |c| c.weight())
                + base.map_or(0, |b| b.len())
                + key.collection.as_bytes().len()
                + key.id.as_bytes().len();
            chosen.push((key, record));
            if (chosen.len() > limits.documents || bytes > limits.bytes) && whole > 0 {
                chosen.truncate(whole);
                return Ok(chosen);
            }
        }
        if is_last {
            return Ok(chosen);
        }
    }
}

fn put_in_flight(
    tx: &mut RowTransaction<'_>,
    cx: &Context,
    push: PushId,
    mut record: Record,
) -> Record {
    stamping::put_right(&mut record, &mut tx.meta, cx.now, 0);
    let base_not_in_log = record.edit().is_some_and(|e| e.base_not_in_log);
    let mut base = record.edit().and_then(|e| e.base.as_ref()).map(BaseRef::from);
    if let Some(base) = base.as_mut().filter(|_| base_not_in_log) {
        base.seq = BaseRef::NOT_IN_LOG;
    }
    let Some(revision) = record.current.as_ref().map(|c| c.revision) else { return record };
    let pending = record.pending_mut();
    if let Some(edit) = pending.edit.as_mut() {
        edit.was_sent = true;
    }
    pending.in_flight = Some(InFlight { push, revision, base, carried: Carried::Current });
    record
}

/// Returns the batch as it was formed, or its recall: if something of it was erased since, or if it
/// is over the limits and can be divided.
fn read_batch(
    rows: &dyn ReplicaReads,
    resolvers: &Resolvers,
    scope: &Scope,
    row: &BatchRow,
    limits: Limits,
) -> Result<PushBatch> {
    let mut transactions = BTreeSet::new();
    let mut changes = Vec::with_capacity(row.keys.len());
    let mut withdrawn = Vec::with_capacity(row.keys.len());
    for key in &row.keys {
        let record = rows.record(key)?.ok_or_else(|| damaged(key))?;
        transactions.extend(record.edit().map(|e| e.transaction));
        withdrawn.push(record.in_flight().and_then(InFlight::withdrawn));
        changes.push(read_change(resolvers, key, &record)?);
    }
    let mark = rows.scope(scope)?.and_then(|row| row.checkpoint.mark);
    let (scope, replica, id) = (scope.clone(), row.replica, row.id);
    let batch = PushBatch { scope, replica, id, changes, recall: None, mark };
    let is_over = batch.weight() > limits.bytes || batch.changes.len() > limits.documents;
    let is_divisible = transactions.len() > 1 || limits == Limits::NONE;
    let is_recalled = is_over && is_divisible;
    if withdrawn.iter().all(Option::is_none) && !is_recalled {
        return Ok(batch);
    }
    let digest = digest_of(batch.changes.iter().zip(withdrawn).map(|(change, withdrawn)| {
        let of_state = || digest_of_state(change.base, &change.state);
        (&change.collection, &change.id, withdrawn.unwrap_or_else(of_state))
    }));
    Ok(batch.recalled(digest))
}

fn damaged(key: &DocumentKey) -> Error {
    let what = "the batch in flight names a document that is not in flight";
    Error::new(ErrorKind::Incompatible, what).with("document", key)
}

fn read_change(resolvers: &Resolvers, key: &DocumentKey, record: &Record) -> Result<Change> {
    let in_flight = record.in_flight().ok_or_else(|| damaged(key))?;
    let base = in_flight.base;
    let known_base = record.edit().and_then(|e| e.base.as_ref()).map(|b| &b.state);
    let is_sent = |b: &&DocumentState| {
        resolvers.sends_base(&key.collection) && Some(b.revision) == base.map(|b| b.revision)
    };
    Ok(Change {
        collection: key.collection.clone(),
        id: key.id.clone(),
        base,
        base_body: known_base.filter(is_sent).and_then(|b| b.body.clone()),
        state: record.pushed().ok_or_else(|| damaged(key))?,
    })
}

/// Dissolves a batch that was recalled: its remaining edits are pushed in another one.
fn dissolve(mut tx: RowTransaction<'_>, cx: &Context, batch: &BatchRow) -> Result<Committed> {
    for key in &batch.keys {
        let Some(old) = tx.rows.record(key)? else { continue };
        let mut record = old.clone();
        record.pending_mut().in_flight = None;
        tx.committed.applied += 1;
        if let (Some(pending_remote), Some(epoch)) =
            (rules::take_pending_remote(&mut record), tx.epoch())
        {
            let (now, resolvers) = (cx.now, &cx.resolvers);
            let mut rule_cx = RuleContext { now, epoch, meta: &mut tx.meta, resolvers };
            let taken = rules::apply_remote(&mut record, key, pending_remote, &mut rule_cx);
            tx.report(key, rules::decided(taken));
        }
        tx.save(key, Some(&old), record, Origin::Remote)?;
    }
    let scope = tx.scope.clone();
    tx.rows.put_batch(&scope, None)?;
    tx.finish()
}

/// Applies the verdicts on the batch in flight; verdicts on any other batch, or of another epoch of
/// the log, change nothing.
///
/// # Errors
/// `Superseded` for an old lease, `Protocol` if there are not as many verdicts as changes, or if
/// the server has another batch under this id; nothing happens then. Else the errors of the rows.
pub fn settle(
    rows: &mut dyn ReplicaRows,
    cx: &Context,
    scope: &Scope,
    id: PushId,
    verdicts: &Verdicts,
) -> Result<Committed> {
    let protocol =
        |what: &str| Err(Error::new(ErrorKind::Protocol, what).during("settle").with("push", id));
    let mut tx = RowTransaction::begin_synced(rows, scope)?;
    check_lease(cx.lease, tx.meta.lease)?;
    let named = |b: &BatchRow| b.id == id;
    let Some(batch) = tx.rows.batch(scope)?.filter(named) else {
        return Ok(Committed::default());
    };
    let (epoch, mark, verdicts) = match verdicts {
        Verdicts::Decided { epoch, mark, verdicts } => (epoch, mark, verdicts),
        Verdicts::Recalled => return dissolve(tx, cx, &batch),
        Verdicts::Stale | Verdicts::Cloned => {
            return protocol(
                "the server has another batch under this name: the replica needs a new identity",
            );
        }
    };
    // Verdicts of another history of the log do not apply to this one: a greeting has to resolve
    // that first.
    if tx.row.checkpoint.contradicts(mark.as_ref())
        || tx.row.checkpoint.epoch.is_some_and(|e| e != *epoch)
    {
        return Ok(Committed::default());
    }
    if verdicts.len() != batch.keys.len() {
        return protocol("there are not as many verdicts as changes");
    }
    let checkpoint = &mut tx.row.checkpoint;
    checkpoint.epoch = Some(*epoch);
    checkpoint.note_mark(mark.as_ref());
    let newest = verdicts.iter().map(|v| v.seq).max().unwrap_or_default();
    tx.row.checkpoint.seen = tx.row.checkpoint.seen.max(newest);
    for (key, verdict) in batch.keys.iter().zip(verdicts) {
        settle_one(&mut tx, cx, *epoch, key, verdict)?;
    }
    tx.row.failures = Failures::default();
    tx.rows.put_batch(scope, None)?;
    tx.finish()
}

fn settle_one(
    tx: &mut RowTransaction<'_>,
    cx: &Context,
    epoch: crate::model::Epoch,
    key: &DocumentKey,
    verdict: &Verdict,
) -> Result<()> {
    let Some(old) = tx.rows.record(key)? else { return Ok(()) };
    let mut record = old.clone();
    let mut rule_cx =
        RuleContext { now: cx.now, epoch, meta: &mut tx.meta, resolvers: &cx.resolvers };
    let outcome = settling::settle(&mut record, key, verdict, &mut rule_cx);
    if old.holds_erased() && !record.holds_erased() {
        tx.rows.note_erasure()?;
    }
    tx.committed.applied += 1;
    tx.report(key, outcome.decided);
    match outcome.refused.is_some() || is_further(&old, &record, &verdict.kind) {
        true => tx.committed.progressed += 1,
        false => {
            tx.committed.unmoved.get_or_insert_with(|| (key.clone(), verdict.kind.clone()));
        }
    }
    if let (Some(refused), VerdictKind::Rejected(rejection)) = (outcome.refused, &verdict.kind) {
        let erases = refused.0.erased.is_some();
        tx.quarantine(cx.now, key, refused, rejection)?;
        if record.current.is_none() && erases {
            // The document that it would have erased is removed here, and the verdict had no room
            // for it.
            tx.backfill(&key.collection);
        }
    }
    if verdict.kind == VerdictKind::Accepted {
        return tx.save_settled(key, &old, record);
    }
    tx.save(key, Some(&old), record, Origin::Remote)
}

/// Returns whether a verdict advanced an edit: it was removed, deferred to the app, or has another
/// base than before, or the state that was decided is not the newest one any more. A new stamp
/// alone is no progress.
pub(super) fn is_further(old: &Record, new: &Record, verdict: &VerdictKind) -> bool {
    let (Some(before), Some(after)) = (old.edit(), new.edit()) else { return true };
    let base = |edit: &Edit| {
        let base = edit.base.as_ref();
        (base.map(|b| (b.epoch, b.seq, b.state.revision)), edit.base_not_in_log)
    };
    let is_decided = match verdict {
        VerdictKind::Conflict => false,
        VerdictKind::Rejected(rejection) => !matches!(rejection.code, RejectionCode::Clock { .. }),
        VerdictKind::Accepted | VerdictKind::Superseded | VerdictKind::Merged => true,
    };
    let pushed = old.in_flight().map(|f| f.revision);
    let is_edited = pushed != old.current.as_ref().map(|c| c.revision);
    let is_free = new.pushable().is_some();
    base(before) != base(after)
        || old.server_seq != new.server_seq
        || !is_free
        || (is_decided && is_edited)
}
