//! Reading chunks of a scope's log.

use super::scope::read_scope;
use crate::error::Result;
use crate::model::{
    Chunk, Collection, Cursor, Limits, LogEntry, Reset, ResetReason, Scope, Seq, agree_on_terms,
};
use crate::server::record::{Fork, ServerScope};
use crate::server::rows::ServerReads;

/// What a request for changes gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangesReply {
    /// The next chunk.
    Chunk(Chunk),
    /// The positions mean nothing here.
    Fork(Fork),
}

/// Whether a cursor's positions are positions of this log.
///
/// # Errors
/// The fork between what the replica and this log know.
pub fn check_cursor(row: &ServerScope, cursor: &Cursor) -> std::result::Result<(), Fork> {
    let highest = cursor.position.max(cursor.after);
    let reset = |reason| Err(Fork::Reset(Reset { epoch: row.epoch, reason }));
    match cursor.epoch {
        None if highest > Seq(0) => return reset(ResetReason::EpochChanged { cut: Seq(0) }),
        None => return Ok(()),
        Some(epoch) if epoch != row.epoch && !mutant!(EpochIgnored) => {
            return reset(ResetReason::EpochChanged { cut: row.shared_with(epoch) });
        }
        Some(_) => {}
    }
    let common = agree_on_terms(&row.terms, row.head, &cursor.terms, highest);
    if common < highest {
        return Err(Fork::Unannounced { epoch: row.epoch, cut: common });
    }
    // A full pull under way is safe from purges up to the head at which it began.
    let safe = cursor.floor.map_or(cursor.after, |floor| floor.max(cursor.after));
    if cursor.after > Seq(0) && safe < row.horizon && !mutant!(HorizonIgnored) {
        return reset(ResetReason::BelowHorizon);
    }
    Ok(())
}

/// The chunk that follows on a cursor: everything whose newest position lies behind it, by position, up to the limits.
///
/// Whoever has taken it in has seen the newest state of every document at or below its `next`, and nothing at or below
/// `next` appears later. It is never cut within one append. `visible` says which collections the reader may see.
///
/// # Errors
/// `NotFound` for an unknown scope. Else as the rows.
pub fn changes(
    rows: &dyn ServerReads,
    scope: &Scope,
    cursor: &Cursor,
    limits: Limits,
    visible: &dyn Fn(&Collection) -> bool,
) -> Result<ChangesReply> {
    changes_of(rows, &read_scope(rows, scope)?, scope, cursor, limits, visible)
}

/// As [`changes`], for who has read the scope's row from the same snapshot.
///
/// # Errors
/// As the rows.
pub fn changes_of(
    rows: &dyn ServerReads,
    row: &ServerScope,
    scope: &Scope,
    cursor: &Cursor,
    limits: Limits,
    visible: &dyn Fn(&Collection) -> bool,
) -> Result<ChangesReply> {
    if let Err(fork) = check_cursor(row, cursor) {
        return Ok(ChangesReply::Fork(fork));
    }
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut seen = Seen::default();
    rows.log(scope, cursor.after, &mut |(collection, id, log)| {
        let is_asked_for = cursor.includes(&collection) && visible(&collection);
        let wanted = is_asked_for && log.seq > cursor.position_of(&collection);
        let entry = LogEntry { seq: log.seq, collection, id, state: log.state };
        if !seen.admit(log.first, log.seq, entry.weight(), limits) {
            return Ok(false);
        }
        if wanted && !(mutant!(PageShifted) && seen.rows == 1 && cursor.after > Seq(0)) {
            entries.push(entry);
        }
        Ok(true)
    })?;
    let next = seen.end.unwrap_or(row.head);
    entries.retain(|e| e.seq <= next);
    Ok(ChangesReply::Chunk(chunk(row, scope, cursor, next, entries)))
}

/// The chunk that [`changes`] makes for a cursor at the head, which needs nothing but the scope's row; none for any other.
#[must_use]
pub fn nothing_new(row: &ServerScope, scope: &Scope, cursor: &Cursor) -> Option<Chunk> {
    let is_at_head = cursor.after == row.head && check_cursor(row, cursor).is_ok();
    is_at_head.then(|| chunk(row, scope, cursor, row.head, Vec::new()))
}

fn chunk(
    row: &ServerScope,
    scope: &Scope,
    cursor: &Cursor,
    next: Seq,
    entries: Vec<LogEntry>,
) -> Chunk {
    Chunk {
        scope: scope.clone(),
        epoch: row.epoch,
        after: cursor.after,
        next,
        head: row.head,
        horizon: row.horizon,
        terms: row.terms.clone(),
        entries,
        bookmarks: None,
    }
}

/// How far a scan has come: chunks end where an append ends.
#[derive(Default)]
struct Seen {
    rows: usize,
    bytes: usize,
    /// The row read last.
    last: Seq,
    /// The first position of the append that is being read.
    first: Seq,
    /// The last row before that append, if there was one.
    boundary: Option<Seq>,
    /// Where the chunk ends, if not at the head.
    end: Option<Seq>,
}

impl Seen {
    /// Whether the row belongs to the chunk; if not, the chunk ends before the row's append.
    fn admit(&mut self, first: Seq, seq: Seq, weight: usize, limits: Limits) -> bool {
        if first != self.first || mutant!(ChunkCutsAppend) {
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
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::kv::{KvWriter, MemoryKv, ServerKv};
    use crate::model::{
        DocumentId, DocumentState, Epoch, ReplicaId, Revision, Stamp, Term, TermStart,
    };
    use crate::server::record::{Ancestor, ServerRow};
    use crate::server::rows::ServerRows;

    const LIVES: [Epoch; 3] = [Epoch([0; 16]), Epoch([1; 16]), Epoch([2; 16])];

    fn collection(name: &str) -> Collection {
        Collection::new(name).unwrap()
    }

    fn state(seq: u64) -> DocumentState {
        let revision = Revision { stamp: Stamp::new(seq, 0), replica: ReplicaId([1; 16]) };
        let created = revision.stamp;
        DocumentState { revision, author: revision, created, body: None, erased: None }
    }

    fn any_terms() -> impl Strategy<Value = Vec<TermStart>> {
        let starts = prop::collection::btree_map(1..6_u64, 1..4_u64, 0..3);
        starts.prop_map(|starts| {
            let start = |(first, term)| TermStart { term: Term(term), first: Seq(first) };
            starts.into_iter().map(start).collect()
        })
    }

    fn any_scope() -> impl Strategy<Value = ServerScope> {
        (0..6_u64, 0..6_u64, 0..6_u64, any_terms()).prop_map(|(head, horizon, cut, terms)| {
            let ancestors = vec![Ancestor { epoch: LIVES[0], cut: Seq(cut.min(head)) }];
            let (head, horizon) = (Seq(head), Seq(horizon.min(head)));
            ServerScope { ancestors, head, horizon, terms, ..ServerScope::new(LIVES[1]) }
        })
    }

    prop_compose! {
        fn any_cursor()(
            epoch in prop::option::of(prop::sample::select(&LIVES[..])),
            after in 0..7_u64,
            behind in prop::option::of(0..3_u64),
            floor in prop::option::of(0..7_u64),
            terms in any_terms(),
            chosen in prop::option::of(prop::sample::subsequence(vec!["a", "b"], 0..=2)),
            backfill in prop::option::of(0..3_u64),
        ) -> Cursor {
            Cursor {
                epoch,
                after: Seq(after),
                position: Seq(behind.map_or(after, |n| after + n)),
                backfills: backfill.map(|n| (collection("b"), Seq(n))).into_iter().collect(),
                floor: floor.map(Seq),
                terms,
                collections: chosen.map(|names| names.into_iter().map(collection).collect()),
                ..Cursor::default()
            }
        }
    }

    proptest! {
        #[test]
        fn that_there_is_nothing_new_is_what_the_log_says(
            row in any_scope(),
            gone in prop::collection::btree_set(1..6_u64, 0..3),
            cursor in any_cursor(),
        ) {
            let mut rows = ServerKv(KvWriter::new(Arc::<MemoryKv>::default()));
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
            let said = changes(&rows, &scope, &cursor, limits, &|_| true).unwrap();
            let nothing = nothing_new(&row, &scope, &cursor).map(ChangesReply::Chunk);
            let is_at_head = matches!(&said, ChangesReply::Chunk(chunk) if chunk.after == row.head);
            prop_assert_eq!(nothing, Some(said).filter(|_| is_at_head));
        }
    }
}
