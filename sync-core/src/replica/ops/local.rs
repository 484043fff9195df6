//! Collections that never leave the device.
//!
//! Their documents live in a separate scope ([`Scope::local`]), which no engine opens and no
//! server serves. They are clean at all times: there is no outbox, no base and no tombstone.

use std::collections::BTreeSet;

use super::transaction::{RowTransaction, read_meta};
use crate::clock::Now;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Body, Collection, DocumentKey, DocumentState, Scope, Seq, Stamp};
use crate::replica::record::{Record, ReplicaMeta};
use crate::replica::rows::ReplicaRows;
use crate::replica::types::{LocalTransaction, Origin, not_found};

const PAGE: usize = 256;

/// Declares which collections are local-only; all others are synced. The declaration is kept until
/// the next one.
///
/// It is rejected while there are documents on this device that it would affect: synced ones, or
/// edits of them, in a collection that becomes local-only, and local ones in a collection that is
/// synced from now on. What other replicas wrote in such a collection while it was local-only is
/// then pulled.
///
/// # Errors
/// `InvalidInput`, naming the collection, if there are such documents; nothing is changed then.
/// Else the errors of the rows.
pub fn declare_local_only(
    rows: &mut dyn ReplicaRows,
    collections: &BTreeSet<Collection>,
) -> Result<()> {
    let mut meta = read_meta(rows)?;
    if meta.local_only == *collections {
        return Ok(());
    }
    let mut scopes = Vec::new();
    for (scope, row) in rows.scopes()? {
        let chosen = row.checkpoint.collections.unwrap_or_default();
        if let Some(both) = chosen.intersection(collections).next() {
            return Err(refused(format!("the collection `{both}` was chosen to be synced")));
        }
        scopes.push(scope);
    }
    for collection in collections.difference(&meta.local_only) {
        for scope in scopes.iter().filter(|s| !s.is_local()) {
            if is_synced(rows, scope, collection)? {
                return Err(becomes_local(scope, collection));
            }
        }
    }
    let synced: Vec<Collection> = meta.local_only.difference(collections).cloned().collect();
    for collection in &synced {
        if !rows.records(&Scope::local(), Some(collection), None, 1)?.is_empty() {
            return Err(becomes_synced(collection));
        }
    }
    meta.local_only.clone_from(collections);
    rows.put_meta(&meta)?;
    for scope in scopes.iter().filter(|s| !s.is_local()) {
        let mut tx = RowTransaction::begin(rows, scope)?;
        let pulled = synced.iter().filter(|c| tx.row.checkpoint.includes(c)).cloned();
        pulled.collect::<Vec<_>>().iter().for_each(|collection| tx.backfill(collection));
        tx.finish()?;
    }
    Ok(())
}

/// Returns whether a collection holds anything of a scope that the app wrote or reads. A tombstone
/// does not count.
fn is_synced(rows: &dyn ReplicaRows, scope: &Scope, collection: &Collection) -> Result<bool> {
    let mut after: Option<DocumentKey> = None;
    loop {
        let place = after.as_ref().map(|k| (&k.collection, &k.id));
        let page = rows.records(scope, Some(collection), place, PAGE)?;
        if page.iter().any(|(_, r)| r.live().is_some() || r.pending.is_some()) {
            return Ok(true);
        }
        let Some((last, _)) = page.into_iter().next_back() else { break };
        after = Some(last);
    }
    let mut ticket = 0;
    loop {
        let page = rows.quarantine(scope, ticket, PAGE)?;
        if page.iter().any(|(_, row)| row.key.collection == *collection) {
            return Ok(true);
        }
        let Some((last, _)) = page.last() else { return Ok(false) };
        ticket = *last;
    }
}

fn becomes_local(scope: &Scope, collection: &Collection) -> Error {
    let message = format!(
        "the collection `{collection}` is declared local-only, and has synced documents or edits on this device; declare \
         it as before and let it leave the device first, or use another name"
    );
    refused(message).with("scope", scope)
}

fn becomes_synced(collection: &Collection) -> Error {
    refused(format!(
        "the collection `{collection}` is not declared local-only any more, and has local documents on this device; \
         declare it as before and move or delete them first, or use another name"
    ))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message).during("declare local-only collections")
}

/// Checks that all writes of a transaction belong to its scope.
pub(super) fn check_writes(meta: &ReplicaMeta, transaction: &LocalTransaction) -> Result<()> {
    let is_local = transaction.scope.is_local();
    let mut collections = transaction.writes.iter().map(|w| &w.collection);
    let Some(other) = collections.find(|c| meta.local_only.contains(*c) != is_local) else {
        return Ok(());
    };
    let message = match is_local {
        true => format!(
            "the collection `{other}` is not local-only: it is written to in a scope that is synced"
        ),
        false => format!(
            "the collection `{other}` is local-only: a transaction holds local-only documents or synced ones, so write \
             them in a transaction of their own"
        ),
    };
    Err(Error::new(ErrorKind::InvalidInput, message).during("write"))
}

/// Writes one state of one document; a deleted document is removed without a tombstone.
pub(super) fn put(
    tx: &mut RowTransaction<'_>,
    now: Now,
    key: &DocumentKey,
    old: Option<Record>,
    body: Option<Body>,
) -> Result<()> {
    let Some(body) = body else {
        return old.map_or(Ok(()), |old| tx.remove(key, &old, Origin::Local));
    };
    let parent = old.as_ref().and_then(Record::live);
    let revision = tx.meta.revision(now, parent.map_or(Stamp::ZERO, |p| p.revision.stamp));
    let created = parent.map_or(revision.stamp, |p| p.created);
    let state =
        DocumentState { revision, author: revision, created, body: Some(body), erased: None };
    let record = Record { current: Some(state), server_seq: Seq(0), ..Record::default() };
    tx.save(key, old.as_ref(), record, Origin::Local)
}

/// Deletes a document so that no byte of it stays.
pub(super) fn erase(
    tx: &mut RowTransaction<'_>,
    key: &DocumentKey,
    old: Option<Record>,
) -> Result<()> {
    let old = old.ok_or_else(|| not_found(key, "document"))?;
    tx.remove(key, &old, Origin::Local)?;
    tx.erase_told(key)
}
