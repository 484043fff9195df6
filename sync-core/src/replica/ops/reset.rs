//! Resets: positions that are not valid any more, and identities that were used twice.

use super::transaction::RowTransaction;
use crate::error::Result;
use crate::model::{Epoch, ReplicaId, Reset, ResetReason, Scope, Seq, ServerState, Settled};
use crate::replica::record::{Edit, Purge, Record};
use crate::replica::rows::ReplicaRows;
use crate::replica::stamping;
use crate::replica::types::{Committed, Context, check_lease};

/// Discards the position, and keeps every unsynced edit.
///
/// A change to the epoch that the replica is already in does nothing.
///
/// # Errors
/// `Superseded` for an old lease. Else the errors of the rows.
pub fn reset(
    rows: &mut dyn ReplicaRows,
    cx: &Context,
    scope: &Scope,
    reset: &Reset,
) -> Result<Committed> {
    let mut tx = RowTransaction::begin_synced(rows, scope)?;
    check_lease(cx.lease, tx.meta.lease)?;
    match reset.reason {
        ResetReason::EpochChanged { cut } => match tx.row.checkpoint.epoch {
            Some(old) if old != reset.epoch => {
                tx.sweep(|tx, _, record| lose_above(tx, record, old, cut))?;
                cut_checkpoint(&mut tx, reset.epoch, cut);
                if cut < tx.row.purge.up_to {
                    // Documents that were deleted above the cut exist again, below the position.
                    start_over(&mut tx);
                }
                tx.row.purge = Purge { up_to: tx.row.purge.up_to.min(cut), ..Purge::default() };
            }
            Some(_) => {}
            None => tx.row.checkpoint.epoch = Some(reset.epoch),
        },
        ResetReason::BelowHorizon => start_over(&mut tx),
        ResetReason::DigestDiffers | ResetReason::Requested => void_all(&mut tx)?,
        ResetReason::Unproven => {
            void_all(&mut tx)?;
            // The server does not accept the mark.
            tx.row.checkpoint.mark = None;
        }
    }
    tx.finish()
}

/// Discards every known position: all documents are pulled again.
fn void_all(tx: &mut RowTransaction<'_>) -> Result<()> {
    tx.sweep(|_, _, record| record.void())?;
    start_over(tx);
    Ok(())
}

pub(super) fn start_over(tx: &mut RowTransaction<'_>) {
    let checkpoint = &mut tx.row.checkpoint;
    checkpoint.seen = checkpoint.seen.max(checkpoint.position);
    checkpoint.position = Seq(0);
    checkpoint.bookmark = None;
    checkpoint.backfills.clear();
    checkpoint.full_pull = None;
    tx.row.left_out = false;
}

fn cut_checkpoint(tx: &mut RowTransaction<'_>, epoch: Epoch, cut: Seq) {
    if tx.row.checkpoint.full_pull.is_some() || cut == Seq(0) {
        start_over(tx);
    }
    let checkpoint = &mut tx.row.checkpoint;
    checkpoint.epoch = Some(epoch);
    checkpoint.bookmark = None;
    checkpoint.position = checkpoint.position.min(cut);
    for own in checkpoint.backfills.values_mut() {
        *own = (*own).min(cut);
    }
    // The part of the mark for positions that both epochs share stays valid. It is their only proof
    // if the server loses the new epoch before the first chunk of it arrives.
    checkpoint.mark = checkpoint.mark.take().filter(|mark| mark.at <= cut);
}

/// Turns a state that was settled above the cut, and is lost on the server, into a re-offer: a push
/// that names where it was settled.
fn lose_above(tx: &mut RowTransaction<'_>, record: &mut Record, old: Epoch, cut: Seq) {
    forget_absence(record);
    let known = record.settled_at();
    let unfounded =
        |pending_remote: &ServerState| pending_remote.seq > cut || pending_remote.state.is_none();
    if record.pending.as_ref().and_then(|p| p.pending_remote.as_ref()).is_some_and(unfounded) {
        // The replica that wrote that state offers it again; a conflict with it is then detected
        // again.
        let pending = record.pending_mut();
        pending.pending_remote = None;
        pending.deferred = false;
    }
    if let Some(edit) = record.pending.as_mut().and_then(|p| p.edit.as_mut())
        && edit.base_not_in_log
        && edit.base.as_ref().is_some_and(|b| b.seq > cut)
    {
        // The server's state made from the base is lost, and the base itself was in no log.
        edit.base = None;
        edit.base_not_in_log = false;
    }
    if known <= cut {
        return;
    }
    record.server_seq = Seq(0);
    if let Some(pending) = record.pending.as_mut() {
        pending.seq_before_reset = Seq(0);
    }
    if record.edit().is_some() {
        return; // Its base says where it was settled.
    }
    let Some(state) = record.current.clone() else { return };
    let base = Some(Settled { epoch: old, seq: known, state });
    let transaction = tx.meta.next_local();
    record.pending_mut().edit =
        Some(Edit { transaction, base, was_sent: true, base_not_in_log: false });
}

/// Discards the position of an absence. A document that a full pull did not find is absent at the
/// position where the pull ended, until a restore brings back the purged tombstone at a lower one:
/// only the state that the replica holds, or that its edit is based on, is still known.
fn forget_absence(record: &mut Record) {
    let is_shown = record.edit().is_none() && record.current.is_some();
    if is_shown {
        return;
    }
    let settled = record.edit().and_then(|e| e.base.as_ref()).map_or(Seq(0), |base| base.seq);
    record.server_seq = record.server_seq.min(settled);
    if let Some(pending) = record.pending.as_mut() {
        pending.seq_before_reset = pending.seq_before_reset.min(settled);
    }
}

/// Takes another identity: the batch in flight is dissolved, and every unsettled edit is the new
/// identity's, with the time at which it was made.
///
/// # Errors
/// `Superseded` for an old lease. Else the errors of the rows.
pub fn reidentify(
    rows: &mut dyn ReplicaRows,
    cx: &Context,
    replica: ReplicaId,
) -> Result<Committed> {
    let mut all = Committed::default();
    for (scope, _) in rows.scopes()?.into_iter().filter(|(scope, _)| !scope.is_local()) {
        let mut tx = RowTransaction::begin_synced(rows, &scope)?;
        check_lease(cx.lease, tx.meta.lease)?;
        tx.meta.replica = replica;
        tx.rows.put_batch(&scope, None)?;
        tx.sweep(|_, _, record| stamping::reidentify(record, replica))?;
        all.changes.extend(tx.finish()?.changes);
    }
    let mut meta = super::transaction::read_meta(rows)?;
    check_lease(cx.lease, meta.lease)?;
    meta.replica = replica;
    rows.put_meta(&meta)?;
    Ok(all)
}
