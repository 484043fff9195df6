//! Removes tombstones from a replica after the server has purged them.

use super::transaction::RowTransaction;
use crate::error::Result;
use crate::model::Seq;
use crate::replica::record::{Purge, Record};

/// The number of records that are examined with each chunk.
const PAGE: usize = 256;

/// Removes settled tombstones, and records of absent documents, at or below the horizon, some with
/// every chunk that reaches the head.
///
/// It is called at the head, where no full pull runs and no collection is backfilled. A record is
/// removed if the app reads nothing from it, nothing of it is unsettled, and its known position is
/// at or below the horizon. The purposes of such a record, and why it is not needed any more:
///
/// - It rejects server states that are not newer. At the head of an epoch nothing at or below the
///   position arrives any more: a chunk is applied only at the replica's position, a verdict only
///   to a document in flight, and that one stays.
/// - It is the base of an insert. The server holds no row there, and accepts a base that was a
///   tombstone and no base alike: the insert is a new document.
/// - A full pull detects deletions by the records that it did not deliver. A record that shows
///   nothing cannot be deleted.
/// - After a restore it offers a deletion again that was made above the cut. If the cut is at or
///   above the horizon, every record that was removed was at or below the cut, and the backup holds
///   its deletion. If it is below, deletions may be lost, as they are with every tombstone that was
///   purged; documents that the backup holds lie below the position, so that the replica [starts
///   over](super::reset) and pulls them. A restore discards records of absence in any case.
/// - It records that a document was erased. An erasure has to be offered again with every backup,
///   so these records stay.
///
/// Digest and counts do not change: they count live documents. For a place in the feed that is
/// removed, followers at an earlier place get a gap.
pub(super) fn purge(tx: &mut RowTransaction<'_>, horizon: Seq) -> Result<()> {
    let purge = &mut tx.row.purge;
    if !purge.runs && purge.up_to < horizon {
        *purge = Purge { up_to: horizon, runs: true, after: None };
    }
    if !purge.runs {
        return Ok(());
    }
    let Purge { up_to, after, .. } = purge.clone();
    let place = after.as_ref().map(|(collection, id)| (collection, id));
    let page = tx.rows.records(&tx.scope, None, place, PAGE)?;
    tx.row.purge.runs = page.len() == PAGE;
    let last = page.last().filter(|_| tx.row.purge.runs);
    tx.row.purge.after = last.map(|(key, _)| (key.collection.clone(), key.id.clone()));
    for (key, record) in page {
        if is_spent(&record, up_to) {
            tx.remove_spent(&key, &record)?;
        }
    }
    Ok(())
}

fn is_spent(record: &Record, horizon: Seq) -> bool {
    let shows_nothing = match &record.current {
        None => true,
        Some(state) => state.is_deleted() && state.erased.is_none() && record.server_seq > Seq(0),
    };
    shows_nothing && record.pending.is_none() && record.server_seq <= horizon
}
