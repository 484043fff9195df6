//! Applying a chunk.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::purge::purge;
use super::reset::start_over;
use super::transaction::{RowTransaction, check_synced, end_load};
use crate::clock::Now;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Bookmarks, Checkpoint, Chunk, Collection, DocumentKey, DocumentState, Epoch, FullPull,
    LogEntry, Seq, ServerState,
};
use crate::replica::record::Record;
use crate::replica::rows::ReplicaRows;
use crate::replica::rules::{self, RuleContext};
use crate::replica::types::{Applied, Context, Origin, check_lease};

/// Applies a chunk if it begins exactly at the replica's position: documents and checkpoint
/// together.
///
/// # Errors
/// `Superseded` for an old lease, `Protocol` for a chunk that contradicts itself; nothing happens
/// then. Else the errors of the rows.
pub fn apply(rows: &mut dyn ReplicaRows, cx: &Context, chunk: &Chunk) -> Result<Applied> {
    check(chunk)?;
    check_synced(&chunk.scope)?;
    let mut tx = RowTransaction::begin_loading(rows, &chunk.scope)?;
    check_lease(cx.lease, tx.meta.lease)?;
    if !fits(&tx.row.checkpoint, chunk) {
        return Ok(unmoved(tx.row.checkpoint));
    }
    let Some(entries) = complete(&tx, chunk)? else {
        return Ok(unmoved(Checkpoint { lacks_own: true, ..tx.row.checkpoint }));
    };
    tx.row.checkpoint.epoch = Some(chunk.epoch);
    begin_full_pull(&mut tx, chunk);
    let floor = tx.row.checkpoint.full_pull.filter(|f| !f.marks).map(|f| f.floor);
    let loaded = load(&mut tx, cx.now, chunk, &entries, floor)?;
    if (!loaded || floor == Some(chunk.next)) && !end_load(tx.rows)? {
        let row = tx.rows.scope(&chunk.scope)?.unwrap_or_default();
        return Ok(unmoved(row.checkpoint));
    }
    if !loaded {
        take_in_all(&mut tx, cx, chunk.epoch, &entries)?;
    }
    let passed_by = passed_by(&tx.row.checkpoint, chunk);
    tx.row.checkpoint.advance(chunk.next);
    tx.row.checkpoint.bookmark = chunk.bookmark();
    let checkpoint = &mut tx.row.checkpoint;
    checkpoint.note_mark(chunk.mark.as_ref());
    note_covered(checkpoint, chunk);
    fill_in(&mut tx, chunk, passed_by);
    let is_at_head = tx.row.checkpoint.after() >= chunk.next;
    if !chunk.has_more() && is_at_head && tx.row.checkpoint.backfills.is_empty() {
        end_full_pull(&mut tx, cx, chunk.epoch)?;
        purge(&mut tx, chunk.horizon)?;
    }
    tx.committed.applied = chunk.entries.len();
    let checkpoint = tx.row.checkpoint.clone();
    let committed = tx.finish()?;
    Ok(Applied { moved: true, checkpoint, committed })
}

fn unmoved(checkpoint: Checkpoint) -> Applied {
    Applied { moved: false, checkpoint, committed: Default::default() }
}

/// Returns whether the chunk begins exactly at the replica's position, in the same log and at the
/// same bookmark. A chunk that was requested ahead has the mark of its log: if it contradicts the
/// mark of the replica, the server was restored in between.
fn fits(checkpoint: &Checkpoint, chunk: &Chunk) -> bool {
    let same_place = |b: &Bookmarks| b.after == checkpoint.bookmark;
    checkpoint.after() == chunk.after
        && chunk.bookmarks.as_ref().is_none_or(same_place)
        && checkpoint.epoch.is_none_or(|e| e == chunk.epoch)
        && !checkpoint.contradicts(chunk.mark.as_ref())
}

fn check(chunk: &Chunk) -> Result<()> {
    let mut last = chunk.after;
    let ordered = chunk.entries.iter().all(|e| std::mem::replace(&mut last, e.seq) < e.seq);
    if ordered && last <= chunk.next && chunk.after <= chunk.next && chunk.next <= chunk.head {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Protocol,
        "a chunk contradicts itself: its positions are out of order",
    )
    .during("apply")
    .with("after", chunk.after)
    .with("next", chunk.next)
    .with("head", chunk.head))
}

/// Returns the entries of a chunk with the bodies that the server left out because this replica
/// pushed them; none if one of them is missing. Two states may have the same revision, so the
/// digest decides which state is meant.
fn complete<'a>(tx: &RowTransaction<'_>, chunk: &'a Chunk) -> Result<Option<Cow<'a, [LogEntry]>>> {
    if chunk.left_out.is_empty() {
        return Ok(Some(Cow::Borrowed(&chunk.entries)));
    }
    let mut entries = chunk.entries.clone();
    for entry in &mut entries {
        let Some(digest) = chunk.left_out.get(&entry.seq) else { continue };
        let (collection, id) = (entry.collection.clone(), entry.id.clone());
        let record = tx.rows.record(&DocumentKey::new(tx.scope.clone(), collection, id))?;
        let revision = entry.state.revision;
        match record.as_ref().and_then(|record| record.state_with(revision, *digest)) {
            Some(state) => entry.state = state.clone(),
            // A state that is not newer than the known one is not applied.
            None if record.as_ref().is_some_and(|record| record.server_seq >= entry.seq) => {}
            None => return Ok(None),
        }
    }
    Ok(Some(Cow::Owned(entries)))
}

/// A pull from position 0 detects deletions, so it records the head at which it began. A collection
/// that is pulled from there beside others has no deletions to detect, but purges must not overtake
/// it either.
fn begin_full_pull(tx: &mut RowTransaction<'_>, chunk: &Chunk) {
    if chunk.after == Seq(0) && tx.row.checkpoint.full_pull.is_none() {
        tx.meta.full_pulls = tx.meta.full_pulls.wrapping_add(1);
        // If nothing here can be settled on the server, nothing can be missing later, and no marks
        // are needed. The server may have accepted an edit in flight already, and a waiting
        // conflict was caused by a state of the server.
        let marks = tx.row.settled > 0 || tx.row.in_flight > 0 || tx.row.deferred > 0;
        let marks = marks && tx.row.checkpoint.position == Seq(0);
        tx.row.checkpoint.full_pull =
            Some(FullPull { floor: chunk.head, generation: tx.meta.full_pulls, marks });
    }
}

/// Lets the backend load the entries of a chunk, if it does that now. Up to the head at which a
/// full pull began each document is sent once, and if nothing was settled here before, none of them
/// exists yet.
fn load(
    tx: &mut RowTransaction<'_>,
    now: Now,
    chunk: &Chunk,
    entries: &[LogEntry],
    floor: Option<Seq>,
) -> Result<bool> {
    let Some(floor) = floor.filter(|floor| chunk.next <= *floor) else { return Ok(false) };
    if !tx.rows.begin_load(floor.0 - chunk.after.0)? {
        return Ok(false);
    }
    let mut fresh = Vec::with_capacity(entries.len());
    for entry in entries {
        if is_wanted(tx, entry) {
            fresh.push(fresh_record(tx, now, entry));
        }
    }
    tx.load_all(&mut fresh)?;
    Ok(true)
}

fn fresh_record(tx: &mut RowTransaction<'_>, now: Now, entry: &LogEntry) -> (DocumentKey, Record) {
    // Replicas merge every stamp: a child must get a later one than a parent that the replica has
    // received.
    tx.meta.note_told(now, &entry.state);
    let key = DocumentKey::new(tx.scope.clone(), entry.collection.clone(), entry.id.clone());
    let current = Some(entry.state.clone());
    (key, Record { current, server_seq: entry.seq, ..Record::default() })
}

/// Applies the entries of a chunk. In a full pull that has no deletions to detect they are most
/// likely new, and are written together.
fn take_in_all(
    tx: &mut RowTransaction<'_>,
    cx: &Context,
    epoch: Epoch,
    entries: &[LogEntry],
) -> Result<()> {
    let most_are_new = tx.row.checkpoint.full_pull.is_some_and(|f| !f.marks);
    let mut fresh = Vec::with_capacity(if most_are_new { entries.len() } else { 0 });
    for entry in entries {
        if !is_wanted(tx, entry) {
            continue;
        }
        let (key, record) = fresh_record(tx, cx.now, entry);
        if most_are_new {
            fresh.push((key, record));
        } else {
            apply_remote(tx, cx, epoch, key, entry.seq, &entry.state)?;
        }
    }
    for at in tx.insert_all(&mut fresh, Origin::Remote)? {
        let (key, record) = &fresh[at];
        if let Some(state) = &record.current {
            apply_remote(tx, cx, epoch, key.clone(), record.server_seq, state)?;
        }
    }
    Ok(())
}

fn is_wanted(tx: &mut RowTransaction<'_>, entry: &LogEntry) -> bool {
    if !tx.row.checkpoint.includes(&entry.collection) {
        return false; // The sender of the chunk included more than was requested.
    }
    if tx.meta.local_only.contains(&entry.collection) {
        // Another device syncs what is local here.
        tx.row.left_out = true;
        return false;
    }
    true
}

fn apply_remote(
    tx: &mut RowTransaction<'_>,
    cx: &Context,
    epoch: Epoch,
    key: DocumentKey,
    seq: Seq,
    state: &DocumentState,
) -> Result<()> {
    let marked = tx.row.checkpoint.full_pull.filter(|f| f.marks);
    let old = tx.rows.record(&key)?;
    let mut record = old.clone().unwrap_or_default();
    let incoming = ServerState { seq, state: Some(state.clone()) };
    let mut rule_cx =
        RuleContext { now: cx.now, epoch, meta: &mut tx.meta, resolvers: &cx.resolvers };
    let taken = rules::apply_remote(&mut record, &key, incoming, &mut rule_cx);
    tx.report(&key, rules::decided(taken));
    record.delivered = marked.map_or(record.delivered, |f| f.generation);
    tx.save(&key, old.as_ref(), record, Origin::Remote)
}

/// Collections that the position passed while the server did not let the replica see them.
enum PassedBy {
    /// These.
    These(BTreeSet<Collection>),
    /// Some that are not known by name.
    Some,
}

/// Returns the collections that the replica may see from this chunk on, and could not see before:
/// they are pulled from their beginning.
fn passed_by(checkpoint: &Checkpoint, chunk: &Chunk) -> PassedBy {
    let none = PassedBy::These(BTreeSet::new());
    let Some(before) = checkpoint.covered.as_ref().filter(|_| checkpoint.position > Seq(0)) else {
        return none;
    };
    let may_be_seen = match (&checkpoint.collections, &chunk.covers) {
        (Some(chosen), _) => chosen.iter().filter(|c| chunk.covers(c)).cloned().collect(),
        (None, Some(covers)) => covers.clone(),
        (None, None) => return PassedBy::Some,
    };
    let new: BTreeSet<Collection> = may_be_seen.difference(before).cloned().collect();
    // A full pull has passed only a part of them, and concludes what is absent from all of its
    // chunks.
    if checkpoint.full_pull.is_some() && !new.is_empty() {
        PassedBy::Some
    } else {
        PassedBy::These(new)
    }
}

/// Pulls from the beginning what the position has passed.
fn fill_in(tx: &mut RowTransaction<'_>, chunk: &Chunk, passed_by: PassedBy) {
    match passed_by {
        PassedBy::These(collections) => collections.iter().for_each(|c| tx.backfill(c)),
        PassedBy::Some => {
            start_over(tx);
            tx.row.checkpoint.covered = chunk.covers.clone();
        }
    }
}

/// Records what the server lets the replica see: during a full pull, what each of its chunks
/// covered.
fn note_covered(checkpoint: &mut Checkpoint, chunk: &Chunk) {
    let is_first = chunk.after == Seq(0);
    let before = checkpoint.covered.take().filter(|_| checkpoint.full_pull.is_some() && !is_first);
    checkpoint.covered = match (before, &chunk.covers) {
        (Some(before), Some(now)) => Some(before.intersection(now).cloned().collect()),
        (before, now) => now.clone().or(before),
    };
}

/// At the head, a document that a full pull did not deliver is absent on the server, if it is of a
/// collection that was requested and that the replica may see. For other collections nothing
/// follows from the pull.
fn end_full_pull(tx: &mut RowTransaction<'_>, cx: &Context, epoch: Epoch) -> Result<()> {
    let Some(full_pull) = tx.row.checkpoint.full_pull.take() else { return Ok(()) };
    if !full_pull.marks {
        return Ok(());
    }
    let position = tx.row.checkpoint.position;
    tx.sweep(|tx, key, record| {
        let checkpoint = &tx.row.checkpoint;
        let is_covered = checkpoint.covers(&key.collection);
        if !is_covered || record.delivered == full_pull.generation || record.server_seq > position {
            return;
        }
        let absent = ServerState { seq: position, state: None };
        if record.edit().is_some() {
            // The push settles it. If that is refused, nothing is left of the document.
            rules::hold_remote(record, absent);
            rules::end_if_equal(record);
        } else if record.current.is_some() {
            // A document known at this exact position is absent there too.
            record.server_seq = Seq(0);
            let mut rule_cx =
                RuleContext { now: cx.now, epoch, meta: &mut tx.meta, resolvers: &cx.resolvers };
            rules::apply_remote(record, key, absent, &mut rule_cx);
        }
    })
}
