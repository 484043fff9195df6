//! Tombstones leave a replica as they leave the server.

use super::transaction::Transaction;
use crate::error::Result;
use crate::model::Seq;
use crate::replica::record::{Purge, Record};

/// How many records one chunk looks at.
const PAGE: usize = 256;

/// Removes settled tombstones, and what is remembered of absent documents, at or below the horizon,
/// some with every chunk that reaches the head.
///
/// It is called at the head, where no full pull runs and no collection is filled in. A record goes
/// if the app sees nothing of it, nothing of it is unsettled, and its known position is at or below
/// the horizon. What such a record is kept for, and why it is not needed any more:
///
/// - It turns away server states that are not newer. At the head of an epoch nothing at or below
///   the position comes any more: a chunk is taken in only where the replica stands, a verdict only
///   for a document in flight, and that one stays.
/// - It is the base of an insert. The server holds no row there, and accepts a base that was a
///   tombstone and no base alike: the insert is a new document.
/// - A full pull finds out what is gone by the records that it did not deliver. What shows nothing
///   cannot go.
/// - After a restore it offers a deletion again that was made above the cut. If the cut is at or
///   above the horizon, every record that left was at or below the cut, and the backup holds its
///   deletion. If it is below, deletions may be lost, as they are with every tombstone that was
///   purged; documents that the backup holds lie below the position, so that the replica [starts
///   over](super::reset) and pulls them. Absence is forgotten by a restore in any case.
/// - It says that a document was erased. An erasure has to be offered again whatever the backup, so
///   these records stay.
///
/// Digest and counts do not change: they count live documents. Of a place in the feed that leaves,
/// followers that stand before it are told by the gap.
pub(super) fn purge(tx: &mut Transaction<'_>, horizon: Seq) -> Result<()> {
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
