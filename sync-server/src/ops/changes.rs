//! Reads chunks of a scope's log.

use super::marks::{self, Evidence, restored};
use super::scope::read_scope;
use crate::record::{Fork, ServerScope};
use crate::rows::ServerReads;
use crate::visible::Visible;
use sync_core::error::Result;
use sync_core::model::{
    Chunk, Cursor, Delivery, Epoch, Limits, LogEntry, Reset, ResetReason, Scope, Seq,
};

/// The answer to a request for changes.
pub type ChangesReply = Delivery<Chunk, Fork>;

/// Checks whether a cursor's positions are positions of this log.
///
/// An authentic mark with positions that this log does not share proves a restore. Any other claim,
/// such as a position beyond the head, concerns the client alone.
///
/// # Errors
/// The errors of the rows. The inner result is the fork between the replica's log and this one.
pub fn check_cursor(
    rows: &(impl ServerReads + ?Sized),
    scope: &Scope,
    row: &ServerScope,
    cursor: &Cursor,
) -> Result<Result<(), Fork>> {
    Ok(check(row, cursor, marks::evidence(rows, scope, row, cursor.mark.as_ref())?))
}

/// As [`check_cursor`], from the scope's row alone; none if that is not enough, because the mark
/// names an old start.
#[must_use]
pub fn check_by_row(row: &ServerScope, cursor: &Cursor) -> Option<Result<(), Fork>> {
    Some(check(row, cursor, marks::evidence_by_row(row, cursor.mark.as_ref())?))
}

/// The position up to which an earlier epoch has the same log.
///
/// An epoch that is not stored began after the backup from which this log was restored, or is older
/// than the epochs that the row keeps. An authentic mark still shows how much of the log is the
/// same: a replica keeps no mark that covers more than its own epoch shares.
fn cut_of(row: &ServerScope, epoch: Epoch, shown: Evidence) -> Seq {
    match shown {
        Evidence::SharedUpTo(cut) if !row.remembers(epoch) => cut,
        _ => row.shared_with(epoch),
    }
}

fn check(row: &ServerScope, cursor: &Cursor, shown: Evidence) -> Result<(), Fork> {
    let highest = cursor.position.max(cursor.after);
    let reset = |reason| Err(Fork::Reset(Reset { epoch: row.epoch, reason }));
    match cursor.epoch {
        None if highest > Seq(0) => return reset(ResetReason::EpochChanged { cut: Seq(0) }),
        None => return Ok(()),
        Some(epoch) if epoch != row.epoch => {
            return reset(ResetReason::EpochChanged { cut: cut_of(row, epoch, shown) });
        }
        Some(_) => {}
    }
    if let Some(fork) = restored(row, cursor.mark.as_ref(), shown) {
        return Err(fork);
    }
    if highest > row.head {
        return reset(ResetReason::Unproven);
    }
    // A full pull under way is safe from purges up to the head at which it began.
    let safe = cursor.floor.map_or(cursor.after, |floor| floor.max(cursor.after));
    if cursor.after > Seq(0) && safe < row.horizon {
        return reset(ResetReason::BelowHorizon);
    }
    Ok(())
}

/// Returns the chunk that follows a cursor: everything whose newest position is above it, by
/// position, up to the limits.
///
/// A reader that has applied the chunk has received the newest state of every document at or below
/// its `next`, and nothing at or below `next` appears later. A chunk never ends within one append.
/// `visible` is what the reader may see; the chunk names it.
///
/// # Errors
/// `NotFound` for an unknown scope. Else the errors of the rows.
pub fn changes(
    rows: &dyn ServerReads,
    scope: &Scope,
    cursor: &Cursor,
    limits: Limits,
    visible: &Visible,
) -> Result<ChangesReply> {
    changes_of(rows, &read_scope(rows, scope)?, scope, cursor, limits, visible)
}

/// As [`changes`], for a caller that has read the scope's row from the same snapshot.
///
/// # Errors
/// The errors of the rows.
pub fn changes_of(
    rows: &dyn ServerReads,
    row: &ServerScope,
    scope: &Scope,
    cursor: &Cursor,
    limits: Limits,
    visible: &Visible,
) -> Result<ChangesReply> {
    if let Err(fork) = check_cursor(rows, scope, row, cursor)? {
        return Ok(ChangesReply::Reset(fork));
    }
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut seen = Seen::default();
    rows.log(scope, cursor.after, &mut |(collection, id, log)| {
        let is_asked_for = cursor.includes(&collection) && visible.includes(&collection);
        let wanted = is_asked_for && log.seq > cursor.position_of(&collection);
        let entry = LogEntry { seq: log.seq, collection, id, state: log.state };
        if !seen.admit(log.first, log.seq, entry.weight(), limits) {
            return Ok(false);
        }
        if wanted {
            entries.push(entry);
        }
        Ok(true)
    })?;
    let next = seen.end.unwrap_or(row.head);
    entries.retain(|e| e.seq <= next);
    let mark = marks::mark_at(rows, scope, row, next)?;
    Ok(ChangesReply::Chunk(Chunk { mark, entries, ..empty(row, scope, cursor, next, visible) }))
}

/// Returns the chunk that [`changes`] makes for a cursor at the head, which needs only the scope's
/// row; none for any other cursor.
#[must_use]
pub fn nothing_new(
    row: &ServerScope,
    scope: &Scope,
    cursor: &Cursor,
    visible: &Visible,
) -> Option<Chunk> {
    if cursor.after != row.head || check_by_row(row, cursor)?.is_err() {
        return None;
    }
    let mark = marks::mark_at_head(row);
    Some(Chunk { mark, ..empty(row, scope, cursor, row.head, visible) })
}

pub(crate) fn empty(
    row: &ServerScope,
    scope: &Scope,
    cursor: &Cursor,
    next: Seq,
    visible: &Visible,
) -> Chunk {
    Chunk {
        next,
        head: row.head,
        horizon: row.horizon,
        covers: visible.names(),
        ..Chunk::empty(scope.clone(), row.epoch, cursor.after)
    }
}

/// The progress of a scan: chunks end where an append ends.
#[derive(Default)]
struct Seen {
    rows: usize,
    bytes: usize,
    /// The row that was read last.
    last: Seq,
    /// The first position of the append that is being read.
    first: Seq,
    /// The last row before that append, if there was one.
    boundary: Option<Seq>,
    /// The end of the chunk, if it is not the head.
    end: Option<Seq>,
}

impl Seen {
    /// Whether the row belongs to the chunk; if not, the chunk ends before the row's append.
    fn admit(&mut self, first: Seq, seq: Seq, weight: usize, limits: Limits) -> bool {
        if first != self.first {
            self.boundary = (self.rows > 0).then_some(self.last);
            self.first = first;
        }
        self.rows += 1;
        self.bytes += weight;
        let is_over = self.rows > limits.documents || self.bytes > limits.bytes;
        if is_over && self.boundary.is_some() {
            self.end = self.boundary;
            return false;
        }
        self.last = seq;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;
    use crate::record::{Ancestor, ServerRow};
    use crate::rows::ServerRows;
    use crate::rows::memory::MemoryRows;
    use sync_core::model::{
        Collection, DocumentId, DocumentState, Epoch, LogKey, LogMark, LogRun, ReplicaId, Revision,
        ServerStart, Stamp, StartRecord,
    };

    const LIVES: [Epoch; 3] = [Epoch([0; 16]), Epoch([1; 16]), Epoch([2; 16])];

    fn collection(name: &str) -> Collection {
        Collection::new(name).unwrap()
    }

    fn state(seq: u64) -> DocumentState {
        let revision = Revision { stamp: Stamp::new(seq, 0), replica: ReplicaId([1; 16]) };
        let created = revision.stamp;
        DocumentState { revision, author: revision, created, body: None, erased: None }
    }

    const KEY: LogKey = LogKey([7; 16]);

    fn any_terms() -> impl Strategy<Value = Vec<StartRecord>> {
        let starts = prop::collection::btree_map(1..6_u64, 1..4_u64, 0..3);
        starts.prop_map(|starts| {
            let start =
                |(first, start)| StartRecord { start: ServerStart(start), first: Seq(first) };
            starts.into_iter().map(start).collect()
        })
    }

    fn any_mark() -> impl Strategy<Value = Option<LogMark>> {
        let made = (any_terms(), 6..8_u64, any::<bool>()).prop_map(|(starts, at, is_forged)| {
            let ends = starts.iter().skip(1).map(|s| Seq(s.first.0 - 1)).chain([Seq(at)]);
            let run =
                |(s, last): (&StartRecord, Seq)| LogRun { start: s.start, first: s.first, last };
            let runs: Vec<_> = starts.iter().zip(ends).map(run).collect();
            let mark = LogMark::sign(LIVES[1], runs, &KEY);
            LogMark { proof: mark.proof ^ u64::from(is_forged), ..mark }
        });
        prop::option::of(made)
    }

    fn any_scope() -> impl Strategy<Value = ServerScope> {
        (0..6_u64, 0..6_u64, 0..6_u64, any_terms()).prop_map(|(head, horizon, cut, starts)| {
            let ancestors = vec![Ancestor { epoch: LIVES[0], cut: Seq(cut.min(head)) }];
            let (head, horizon, key) = (Seq(head), Seq(horizon.min(head)), Some(KEY));
            ServerScope { ancestors, head, horizon, starts, key, ..ServerScope::new(LIVES[1]) }
        })
    }

    prop_compose! {
        fn any_cursor()(
            epoch in prop::option::of(prop::sample::select(&LIVES[..])),
            after in 0..7_u64,
            behind in prop::option::of(0..3_u64),
            floor in prop::option::of(0..7_u64),
            mark in any_mark(),
            chosen in prop::option::of(prop::sample::subsequence(vec!["a", "b"], 0..=2)),
            backfill in prop::option::of(0..3_u64),
        ) -> Cursor {
            Cursor {
                epoch,
                after: Seq(after),
                position: Seq(behind.map_or(after, |n| after + n)),
                backfills: backfill.map(|n| (collection("b"), Seq(n))).into_iter().collect(),
                floor: floor.map(Seq),
                mark,
                collections: chosen.map(|names| names.into_iter().map(collection).collect()),
                ..Cursor::default()
            }
        }
    }

    #[test]
    fn a_mark_of_an_epoch_that_is_not_stored_shows_what_is_shared() {
        let starts = vec![
            StartRecord { start: ServerStart(1), first: Seq(1) },
            StartRecord { start: ServerStart(3), first: Seq(5) },
        ];
        let (head, key) = (Seq(6), Some(KEY));
        let row = ServerScope { head, key, starts, ..ServerScope::new(LIVES[1]) };
        // Another life that began after the same backup, in which the second start wrote from 5 on.
        let run = |start, first, last| LogRun {
            start: ServerStart(start),
            first: Seq(first),
            last: Seq(last),
        };
        let runs = vec![run(1, 1, 4), run(2, 5, 9)];
        let cut = |row: &ServerScope, epoch, mark: LogMark| {
            let (position, after) = (Seq(9), Seq(9));
            let mark = Some(mark);
            let cursor = Cursor { epoch: Some(epoch), position, after, mark, ..Cursor::default() };
            match check_by_row(row, &cursor) {
                Some(Err(Fork::Reset(Reset {
                    reason: ResetReason::EpochChanged { cut }, ..
                }))) => cut,
                other => panic!("{other:?}"),
            }
        };
        let mark = LogMark::sign(LIVES[2], runs.clone(), &KEY);
        assert_eq!(cut(&row, LIVES[2], mark.clone()), Seq(4));
        let forged = LogMark { proof: mark.proof ^ 1, ..mark.clone() };
        assert_eq!(cut(&row, LIVES[2], forged), Seq(0));
        let before = LogMark::sign(LIVES[0], vec![run(1, 1, 3)], &KEY);
        assert_eq!(cut(&row, LIVES[2], before), Seq(3), "a mark from before the epoch");
        let ancestors = vec![Ancestor { epoch: LIVES[2], cut: Seq(3) }];
        let remembers = ServerScope { ancestors, ..row };
        assert_eq!(cut(&remembers, LIVES[2], mark), Seq(3), "what is remembered counts");
    }

    proptest! {
        #[test]
        fn the_answer_at_the_head_equals_that_of_the_log(
            row in any_scope(),
            gone in prop::collection::btree_set(1..6_u64, 0..3),
            cursor in any_cursor(),
        ) {
            let mut rows = MemoryRows::default();
            let scope = Scope::default();
            rows.put_scope(&scope, &row).unwrap();
            let places: BTreeSet<_> = (1..=row.head.0).filter(|seq| !gone.contains(seq)).collect();
            for seq in places {
                let id = DocumentId::new(format!("d{seq}")).unwrap();
                let new =
                    ServerRow { seq: Seq(seq), first: Seq(seq), state: state(seq), offered: None };
                let name = collection(if seq % 2 == 0 { "a" } else { "b" });
                rows.put_row(&scope, &name, &id, None, &new).unwrap();
            }
            let limits = Limits { documents: 2, ..Limits::CHUNK };
            let said = changes(&rows, &scope, &cursor, limits, &Visible::All).unwrap();
            let nothing = nothing_new(&row, &scope, &cursor, &Visible::All).map(ChangesReply::Chunk);
            let is_at_head = matches!(&said, ChangesReply::Chunk(chunk) if chunk.after == row.head);
            let is_told = check_by_row(&row, &cursor).is_some();
            prop_assert_eq!(nothing, Some(said).filter(|_| is_at_head && is_told));
        }
    }
}
