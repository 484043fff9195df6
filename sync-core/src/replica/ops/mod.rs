//! The transactions of a replica's storage, written once over [rows](super::rows): each function is
//! the body of one transaction.
//!
//! A backend that implements the rows calls these from its own transactions;
//! [`Storage`](crate::storage::Storage) documents what must be true afterwards.

mod apply;
mod check;
mod decide;
mod local;
mod purge;
mod push;
mod queries;
mod reset;
mod set_collections;
mod transaction;
mod write;

pub use apply::apply;
pub use check::check;
pub use decide::{decide, forget};
pub use local::declare_local_only;
pub use push::{next_push, settle};
pub use queries::{feed, get, scan, state, unsettled, unsettled_of};
pub use reset::{reidentify, reset};
pub use set_collections::set_collections;
pub use write::write;

use super::failures::{Failed, Failures};
use super::record::ReplicaMeta;
use super::rows::{OutboxPlace, ReplicaRows};
use super::stamping;
use super::types::Origin;
use crate::clock::{Clock, DRIFT_BOUND, Now, ServerTime};
use crate::error::Result;
use crate::model::WriteLimits;
use crate::model::{FencingToken, ReplicaId, Scope};
use transaction::RowTransaction;

/// Writes the row that exists once, if this storage is new.
///
/// # Errors
/// The errors of the rows.
pub fn initialise(rows: &mut dyn ReplicaRows, replica: ReplicaId) -> Result<ReplicaMeta> {
    if let Some(meta) = rows.meta()? {
        return Ok(meta);
    }
    let meta = ReplicaMeta::new(replica);
    rows.put_meta(&meta)?;
    Ok(meta)
}

/// Claims the engine lease: an earlier holder cannot change anything any more.
///
/// # Errors
/// The errors of the rows.
pub fn claim(rows: &mut dyn ReplicaRows, holder: &str) -> Result<FencingToken> {
    let mut meta = transaction::read_meta(rows)?;
    meta.lease = meta.lease.next();
    holder.clone_into(&mut meta.holder);
    rows.put_meta(&meta)?;
    Ok(meta.lease)
}

/// Records that an attempt to sync a scope failed, or that it succeeded, which clears the earlier
/// failures. Nothing is recorded for a scope that the replica does not hold.
///
/// # Errors
/// `Superseded` for an old lease; else the errors of the rows.
pub fn note_attempt(
    rows: &mut dyn ReplicaRows,
    lease: FencingToken,
    scope: &Scope,
    failed: Option<Failed>,
) -> Result<()> {
    super::types::check_lease(lease, transaction::read_meta(rows)?.lease)?;
    let Some(mut row) = rows.scope(scope)? else { return Ok(()) };
    let before = row.failures.clone();
    match failed {
        Some(failed) => row.failures.add(failed),
        None => row.failures = Failures::default(),
    }
    if row.failures == before { Ok(()) } else { rows.put_scope(scope, &row) }
}

/// Records the server's time and its limits. `now` is when the server's time was received.
///
/// Edits in the outbox whose stamps come from a clock that ran ahead get new stamps, before a
/// resolver compares them with anything.
///
/// # Errors
/// `Superseded` for an old lease; else the errors of the rows.
pub fn note_server(
    rows: &mut dyn ReplicaRows,
    now: Now,
    lease: FencingToken,
    time: ServerTime,
    limits: WriteLimits,
) -> Result<()> {
    let mut meta = transaction::read_meta(rows)?;
    super::types::check_lease(lease, meta.lease)?;
    let before = (meta.clock_offset, meta.server_limits);
    let shift = stamping::correct(&mut meta, time, now);
    meta.server_limits = Some(limits);
    let newest = meta.clock.high_water.max(meta.clock.ahead);
    let ran_ahead = Clock::is_beyond(newest, meta.corrected(now), DRIFT_BOUND);
    if before != (meta.clock_offset, meta.server_limits) {
        rows.put_meta(&meta)?;
    }
    if ran_ahead { restamp_outbox(rows, now, shift) } else { Ok(()) }
}

/// Gives new stamps to edits in the outbox of each scope that are too far ahead.
fn restamp_outbox(rows: &mut dyn ReplicaRows, now: Now, shift: i64) -> Result<()> {
    for (scope, row) in rows.scopes()? {
        if scope.is_local() || row.pending + row.not_chosen == 0 {
            continue;
        }
        let mut tx = RowTransaction::begin_synced(rows, &scope)?;
        let mut place: Option<OutboxPlace> = None;
        loop {
            let page = tx.rows.outbox(&scope, place.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            for (key, old) in page {
                let Some(transaction) = old.pushable() else { continue };
                place = Some((transaction, key.collection.clone(), key.id.clone()));
                let mut record = old.clone();
                if stamping::put_right(&mut record, &mut tx.meta, now, shift) {
                    tx.save(&key, Some(&old), record, Origin::Local)?;
                }
            }
            if is_last {
                break;
            }
        }
        tx.finish()?;
    }
    Ok(())
}

const PAGE: usize = 256;

#[cfg(test)]
mod tests;
