//! A scope's log as a whole: its beginning, its epochs, its horizon, and the acknowledgements.

use super::marks::find_restore;
use crate::record::{Acknowledged, Ancestor, Fork, Owner, ServerScope};
use crate::rows::{ServerReads, ServerRows};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Digest, Epoch, LogMark, NewLog, ReplicaId, Reset, ResetReason, Scope, Seq};

/// Reads the scope's row, which has to exist.
///
/// # Errors
/// `NotFound` for an unknown scope. Else the errors of the rows.
pub fn read_scope(rows: &(impl ServerReads + ?Sized), scope: &Scope) -> Result<ServerScope> {
    rows.scope(scope)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "there is no such scope").with("scope", scope)
    })
}

/// Returns the scope's row, and creates it if it does not exist.
///
/// # Errors
/// The errors of the rows.
pub fn open_scope(rows: &mut dyn ServerRows, scope: &Scope, fresh: NewLog) -> Result<ServerScope> {
    if let Some(row) = rows.scope(scope)? {
        return Ok(row);
    }
    let row = ServerScope::beginning_with(fresh);
    rows.put_scope(scope, &row)?;
    Ok(row)
}

/// Ends the current epoch of the log at `cut` and begins another, unless `from` is not the current
/// epoch any more.
///
/// # Errors
/// `NotFound` for an unknown scope. Else the errors of the rows.
pub fn begin_epoch(
    rows: &mut dyn ServerRows,
    scope: &Scope,
    from: Epoch,
    cut: Seq,
    fresh: Epoch,
) -> Result<ServerScope> {
    let mut row = read_scope(rows, scope)?;
    if row.epoch != from {
        return Ok(row);
    }
    row.ancestors.push(Ancestor { epoch: from, cut: cut.min(row.head) });
    row.epoch = fresh;
    rows.put_scope(scope, &row)?;
    Ok(row)
}

/// Removes the tombstones at or below `up_to`, and moves the horizon there. Replicas whose position
/// is lower pull everything again.
///
/// # Errors
/// `NotFound` for an unknown scope. Else the errors of the rows.
pub fn purge(rows: &mut dyn ServerRows, scope: &Scope, up_to: Seq) -> Result<u64> {
    let mut row = read_scope(rows, scope)?;
    let up_to = up_to.min(row.head);
    row.horizon = row.horizon.max(up_to);
    rows.put_scope(scope, &row)?;
    let (mut after, mut purged) = (Seq(0), 0);
    loop {
        let (mut page, mut seen) = (Vec::new(), 0);
        rows.log(scope, after, &mut |(collection, id, row)| {
            if row.seq > up_to {
                return Ok(false);
            }
            after = row.seq;
            seen += 1;
            if row.state.is_deleted() {
                page.push((collection, id, row));
            }
            Ok(seen < 1_000)
        })?;
        for (collection, id, row) in &page {
            rows.remove_row(scope, collection, id, row)?;
        }
        purged += page.len() as u64;
        if seen < 1_000 {
            return Ok(purged);
        }
    }
}

/// The acknowledgement of what a replica has applied durably.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acknowledgement {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The position.
    pub seq: Seq,
    /// The digest of its live documents, if nothing of the replica is unsettled.
    pub digest: Option<Digest>,
    /// The newest mark of the log that the replica has.
    pub mark: Option<LogMark>,
    /// Whether the position is recorded.
    pub noted: Noted,
}

impl Acknowledgement {
    /// Creates an acknowledgement without a digest and without a mark, which is always recorded.
    #[must_use]
    pub fn new(epoch: Epoch, seq: Seq) -> Self {
        Self { epoch, seq, digest: None, mark: None, noted: Noted::Always }
    }
}

/// Whether the position of a replica is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Noted {
    /// It is.
    #[default]
    Always,
    /// Unless the replica's id belongs to another owner.
    Of(Owner),
    /// It is not: a principal that may only read stores nothing in a scope.
    Never,
}

/// Records how far a replica is, and compares its digest if both are at the same position. A mark
/// that shows a restore is returned as such, and nothing is recorded.
///
/// # Errors
/// `NotFound` for an unknown scope. Else the errors of the rows.
pub fn acknowledge(
    rows: &mut dyn ServerRows,
    scope: &Scope,
    replica: ReplicaId,
    ack: &Acknowledgement,
) -> Result<Option<Fork>> {
    let row = read_scope(rows, scope)?;
    if ack.epoch != row.epoch {
        return Ok(None);
    }
    if let Some(fork) = find_restore(&*rows, scope, &row, ack.mark.as_ref())? {
        return Ok(Some(fork));
    }
    let is_noted = match ack.noted {
        Noted::Always => true,
        Noted::Never => false,
        Noted::Of(owner) => {
            let bound = rows.push_record(scope, replica)?.and_then(|record| record.owner);
            bound.is_none_or(|bound| bound == owner)
        }
    };
    if is_noted {
        let to = Acknowledged { epoch: ack.epoch, seq: ack.seq.min(row.head) };
        let mut at = rows.acknowledged(scope, replica)?.unwrap_or(to);
        at.advance(to);
        rows.put_acknowledged(scope, replica, &at)?;
    }
    let differs = row.head == ack.seq && ack.digest.is_some_and(|d| d != row.digest);
    let reset = Reset { epoch: row.epoch, reason: ResetReason::DigestDiffers };
    Ok(differs.then_some(Fork::Reset(reset)))
}
