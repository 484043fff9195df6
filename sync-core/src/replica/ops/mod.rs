//! What a replica's storage does, written once over [rows](super::rows): each function is the body of one transaction.
//!
//! A backend that implements the rows calls these from its own transactions; [`Storage`](crate::storage::Storage) says
//! what must be true afterwards.

mod apply;
mod choose;
mod decide;
mod local;
mod push;
mod queries;
mod reset;
mod transaction;
mod write;

pub use apply::apply;
pub use choose::choose;
pub use decide::{decide, forget};
pub use local::declare_local_only;
pub use push::{next_push, settle};
pub use queries::{feed, get, scan, state, unsettled, unsettled_of};
pub use reset::{reidentify, reset};
pub use write::write;

use super::failures::{Failed, Failures};
use super::record::ReplicaMeta;
use super::rows::ReplicaRows;
use super::types::WriteLimits;
use crate::clock::{Clock, Now};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Generation, ReplicaId, Scope};

/// Makes the row that is kept once, if this storage is new.
///
/// # Errors
/// As the rows.
pub fn initialise(rows: &mut dyn ReplicaRows, replica: ReplicaId) -> Result<ReplicaMeta> {
    if let Some(meta) = rows.meta()? {
        return Ok(meta);
    }
    let meta = ReplicaMeta::new(replica);
    rows.put_meta(&meta)?;
    Ok(meta)
}

/// Takes the engine lease: whoever held it before changes nothing any more.
///
/// # Errors
/// As the rows.
pub fn claim(rows: &mut dyn ReplicaRows, holder: &str) -> Result<Generation> {
    let mut meta = transaction::read_meta(rows)?;
    meta.lease = meta.lease.next();
    holder.clone_into(&mut meta.holder);
    rows.put_meta(&meta)?;
    Ok(meta.lease)
}

/// Takes note of an attempt to sync a scope that failed, or that it works: then the failures before are forgotten. Nothing is
/// kept of a scope that the replica does not hold.
///
/// # Errors
/// `Superseded` for an old lease; else as the rows.
pub fn note_attempt(
    rows: &mut dyn ReplicaRows,
    lease: Generation,
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

/// Takes note of the server's time, and of what it takes at most.
///
/// A clock that ran ahead of it by more than the drift bound is set back, though never behind what was settled: stamps
/// that it left in the outbox are taken anew when a batch is formed.
///
/// # Errors
/// `Superseded` for an old lease; else as the rows.
pub fn note_server(
    rows: &mut dyn ReplicaRows,
    now: Now,
    lease: Generation,
    server: Now,
    limits: WriteLimits,
) -> Result<()> {
    let mut meta = transaction::read_meta(rows)?;
    super::types::check_lease(lease, meta.lease)?;
    let offset = i64::try_from(i128::from(server.0) - i128::from(now.0))
        .map_err(|_| Error::new(ErrorKind::Protocol, "the server's time makes no sense"))?;
    let ahead = Clock::is_beyond(meta.high_water, server, crate::clock::DRIFT_BOUND);
    let is_corrected = offset.abs_diff(meta.clock_offset) < 500 && !ahead;
    if is_corrected && meta.server_limits == Some(limits) {
        return Ok(());
    }
    meta.server_limits = Some(limits);
    if !is_corrected {
        meta.clock_offset = offset;
    }
    if ahead {
        meta.high_water = crate::model::Stamp::new(server.0, 0).max(meta.settled_high);
    }
    rows.put_meta(&meta)
}
