//! Chooses the collections of a scope that a replica syncs.

use std::collections::BTreeSet;

use super::decide::remove_collections;
use super::reset::start_over;
use super::transaction::RowTransaction;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Collection, DocumentId, DocumentKey, Scope};
use crate::replica::rows::{OutboxPlace, ReplicaReads, ReplicaRows};
use crate::replica::types::{Committed, Context, check_lease};

/// Chooses which collections a replica syncs; with none, all of them. The choice is kept until the
/// next one.
///
/// A position is valid for the collections that it was made with. So a collection that is added is
/// pulled from the beginning next to the others; if all are chosen after some, everything is. One
/// that is left out is removed from the device as if it were [forgotten](super::forget). Edits in
/// a collection that was not synced before either continue to wait, and so do edits from before the
/// first sync.
///
/// # Errors
/// `Superseded` for an old lease, `InvalidInput` for a collection that is local-only; nothing
/// happens then. Else the errors of the rows.
pub fn set_collections(
    rows: &mut dyn ReplicaRows,
    cx: &Context,
    scope: &Scope,
    collections: Option<&BTreeSet<Collection>>,
) -> Result<Committed> {
    let mut tx = RowTransaction::begin_synced(rows, scope)?;
    check_lease(cx.lease, tx.meta.lease)?;
    let old = tx.row.checkpoint.collections.clone();
    if old.as_ref() == collections {
        return Ok(Committed::default());
    }
    if let Some(local) = collections.and_then(|c| c.intersection(&tx.meta.local_only).next()) {
        let message = format!("the collection `{local}` is local-only and cannot be synced");
        return Err(Error::new(ErrorKind::InvalidInput, message).during("choose collections"));
    }
    let stays = |collection: &Collection| collections.is_none_or(|c| c.contains(collection));
    // Before the first sync nothing was received of any collection.
    let is_fresh = tx.row.checkpoint.epoch.is_none() && tx.rows.batch(scope)?.is_none();
    let held = match &old {
        _ if is_fresh => Vec::new(),
        Some(old) => old.iter().cloned().collect(),
        None => collections_of(&*tx.rows, scope)?,
    };
    let leaving = held.iter().filter(|c| !stays(c)).collect();
    remove_collections(&mut tx, cx.now, &leaving)?;
    tx.row.checkpoint.collections = collections.cloned();
    match (&old, collections) {
        (Some(old), Some(new)) => new.difference(old).for_each(|added| tx.backfill(added)),
        // Collections that are not known by name cannot be pulled separately.
        (Some(_), None) => start_over(&mut tx),
        (None, _) => {}
    }
    count_again(&mut tx)?;
    tx.finish()
}

/// Returns the collections of which a scope holds anything.
fn collections_of(rows: &dyn ReplicaReads, scope: &Scope) -> Result<Vec<Collection>> {
    // No id sorts after this one.
    let last = "\u{10ffff}".repeat(DocumentId::MAX_BYTES / 4);
    let last = DocumentId::new(last)?;
    let mut found: Vec<Collection> = Vec::new();
    loop {
        let after = found.last().map(|collection| (collection, &last));
        let next = rows.records(scope, None, after, 1)?;
        let Some((DocumentKey { collection, .. }, _)) = next.into_iter().next() else {
            return Ok(found);
        };
        found.push(collection);
    }
}

/// Counts the unsettled documents again, by whether they will be pushed.
fn count_again(tx: &mut RowTransaction<'_>) -> Result<()> {
    const PAGE: usize = 1_000;
    (tx.row.pending, tx.row.not_chosen) = (0, 0);
    let mut place: Option<OutboxPlace> = None;
    loop {
        let page = tx.rows.outbox(&tx.scope, place.as_ref(), PAGE)?;
        let is_last = page.len() < PAGE;
        for (key, record) in page {
            match tx.row.checkpoint.includes(&key.collection) {
                true => tx.row.pending += 1,
                false => tx.row.not_chosen += 1,
            }
            place = record.pushable().map(|transaction| (transaction, key.collection, key.id));
        }
        if is_last {
            return Ok(());
        }
    }
}
