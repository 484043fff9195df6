//! Decisions of the app, and data that leaves the device.

use std::collections::BTreeSet;

use super::transaction::RowTransaction;
use super::write;
use crate::clock::Now;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Checkpoint, Collection, DocumentKey, DocumentState, Epoch, FencingToken, Rejection,
    RejectionCode, Scope, Settled,
};
use crate::replica::record::{Purge, QuarantineRow};
use crate::replica::rows::ReplicaRows;
use crate::replica::rules::{self, RuleContext};
use crate::replica::stamping;
use crate::replica::types::{Committed, Decision, Forget, Origin, check_lease, not_found};
use crate::resolver::{Resolution, Resolvers};

const PAGE: usize = 256;

/// Applies the app's decision on a quarantined edit or a deferred conflict.
///
/// # Errors
/// `NotFound` if there is nothing to decide about that document, `InvalidInput` for
/// [`Resolution::Defer`]. Else the errors of the rows.
pub fn decide(
    rows: &mut dyn ReplicaRows,
    now: Now,
    key: &DocumentKey,
    decision: &Decision,
) -> Result<Committed> {
    let mut tx = RowTransaction::begin_synced(rows, &key.scope)?;
    match decision {
        Decision::Resolve(resolution) => resolve(&mut tx, now, key, resolution)?,
        Decision::Retry | Decision::Discard => {
            let refused = take_refused(&mut tx, key)?;
            if refused.is_empty() {
                return Err(not_found(key, "quarantined edit"));
            }
            if *decision == Decision::Retry {
                refused.into_iter().try_for_each(|row| retry(&mut tx, now, row))?;
            }
        }
    }
    tx.finish()
}

/// Removes the refused edits of a document from the quarantine and returns them, the oldest first.
fn take_refused(tx: &mut RowTransaction<'_>, key: &DocumentKey) -> Result<Vec<QuarantineRow>> {
    let (mut after, mut taken) = (0, Vec::new());
    loop {
        let page = tx.rows.quarantine(&key.scope, after, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(taken) };
        after = *last;
        for (ticket, row) in page.into_iter().filter(|(_, row)| row.key == *key) {
            tx.release(ticket)?;
            taken.push(row);
        }
    }
}

/// Writes the edit again as a new local write; one that equals the settled state is dropped.
fn retry(tx: &mut RowTransaction<'_>, now: Now, row: QuarantineRow) -> Result<()> {
    let mut old = tx.rows.record(&row.key)?;
    let unit = tx.meta.last_local.next();
    let current = old.as_ref().and_then(|r| r.current.as_ref());
    // An erasure is made again if the edit was one, or was based on one that was refused with it.
    // An edit that only knew of another replica's erasure erases nothing: what others wrote since
    // is in conflict with it, and stays.
    let base = row.base.as_ref();
    let base = DocumentState::erasure_of(base.map(|b| &b.state));
    let erases = row.state.erased > DocumentState::erasure_of(current).max(base);
    if erases {
        write::put_erasure(tx, now, unit, &row.key, old)?;
        old = tx.rows.record(&row.key)?;
    }
    let current = old.as_ref().and_then(|r| r.current.as_ref()).and_then(|c| c.body.as_ref());
    if current == row.state.body.as_ref() {
        return Ok(());
    }
    let known = row.state.erased.filter(|_| !erases);
    write::put_knowing(tx, now, unit, &row.key, old, (row.state.body, known))
}

fn resolve(
    tx: &mut RowTransaction<'_>,
    now: Now,
    key: &DocumentKey,
    resolution: &Resolution,
) -> Result<()> {
    if *resolution == Resolution::Defer {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a deferred conflict cannot be deferred again",
        ));
    }
    let old = tx.rows.record(key)?.filter(|r| r.is_deferred());
    let old = old.ok_or_else(|| not_found(key, "conflict that waits for a decision"))?;
    let mut record = old.clone();
    stamping::put_right(&mut record, &mut tx.meta, now, 0);
    let pending_remote = record.pending_mut().pending_remote.take();
    let (Some(pending_remote), Some(local)) = (pending_remote, record.current.clone()) else {
        return Err(not_found(key, "conflict that waits for a decision"));
    };
    let epoch = tx.epoch().unwrap_or(Epoch([0; 16]));
    let resolvers = Resolvers::default();
    let mut cx = RuleContext { now, epoch, meta: &mut tx.meta, resolvers: &resolvers };
    let decided =
        rules::apply_resolution(&mut record, resolution.clone(), local, pending_remote, &mut cx);
    tx.report(key, [decided]);
    tx.save(key, Some(&old), record, Origin::Local)
}

/// Removes a scope or a collection from the device. The replica's unsynced bodies move to the
/// quarantine, without bases and remote states; everything else is removed.
///
/// The engine passes its lease, for a scope that was removed on the server; the app needs none.
///
/// # Errors
/// `Superseded` for an old lease; nothing happens then. Else the errors of the rows.
pub fn forget(
    rows: &mut dyn ReplicaRows,
    now: Now,
    lease: Option<FencingToken>,
    what: &Forget,
) -> Result<Committed> {
    let (scope, only) = match what {
        Forget::Scope(scope) => (scope, None),
        Forget::Collection(scope, collection) => (scope, Some(collection)),
    };
    let mut tx = RowTransaction::begin_synced(rows, scope)?;
    if let Some(lease) = lease {
        check_lease(lease, tx.meta.lease)?;
    }
    dissolve_batch(&mut tx, |collection| only.is_none_or(|c| c == collection))?;
    remove_documents(&mut tx, now, scope, only)?;
    match only {
        None => {
            let collections = tx.row.checkpoint.collections.take();
            tx.row.checkpoint = Checkpoint { collections, ..Checkpoint::default() };
            tx.row.purge = Purge::default();
        }
        Some(collection) => {
            tx.row.checkpoint.backfills.remove(collection);
        }
    }
    let is_bare = tx.row.quarantined == 0 && tx.row.checkpoint.collections.is_none();
    let gone = only.is_none() && is_bare;
    let scope = scope.clone();
    let committed = tx.finish()?;
    if gone {
        rows.remove_scope(&scope)?;
    }
    Ok(committed)
}

/// Removes collections from the device, within a transaction that does more.
pub(super) fn remove_collections(
    tx: &mut RowTransaction<'_>,
    now: Now,
    collections: &BTreeSet<&Collection>,
) -> Result<()> {
    let scope = tx.scope.clone();
    dissolve_batch(tx, |collection| collections.contains(collection))?;
    for collection in collections {
        remove_documents(tx, now, &scope, Some(collection))?;
        tx.row.checkpoint.backfills.remove(*collection);
    }
    Ok(())
}

/// Dissolves a batch from which documents leave: the rest of it is pushed again under another
/// name. A batch from which none leaves stays.
fn dissolve_batch(tx: &mut RowTransaction<'_>, leaves: impl Fn(&Collection) -> bool) -> Result<()> {
    let scope = tx.scope.clone();
    let batch = tx.rows.batch(&scope)?;
    let batch = batch.filter(|b| b.keys.iter().any(|key| leaves(&key.collection)));
    let Some(batch) = batch else { return Ok(()) };
    for key in &batch.keys {
        let Some(old) = tx.rows.record(key)? else { continue };
        let mut record = old.clone();
        record.pending_mut().in_flight = None;
        tx.save(key, Some(&old), record, Origin::Local)?;
    }
    tx.rows.put_batch(&scope, None)
}

fn remove_documents(
    tx: &mut RowTransaction<'_>,
    now: Now,
    scope: &Scope,
    only: Option<&Collection>,
) -> Result<()> {
    let rejection = Rejection {
        code: RejectionCode::Forbidden,
        reason: "it left this device before this edit was synced".into(),
    };
    let mut after: Option<DocumentKey> = None;
    loop {
        let place = after.as_ref().map(|k| (&k.collection, &k.id));
        let page = tx.rows.records(scope, only, place, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        // A store may have to skip what was removed before.
        after = Some(last.clone());
        for (key, record) in page {
            if let (Some(edit), Some(state)) = (record.edit(), record.current.clone()) {
                // Only the erasure that the base knew of is kept, so that a retry does not treat it
                // as its own.
                let base = edit.base.clone().filter(|b| b.state.erased.is_some());
                let base = base.map(|b| Settled { state: b.state.without_body(), ..b });
                tx.quarantine(now, &key, (state, base), &rejection)?;
            }
            tx.remove(&key, &record, Origin::Remote)?;
        }
    }
}
