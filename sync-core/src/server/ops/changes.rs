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
    let row = read_scope(rows, scope)?;
    if let Err(fork) = check_cursor(&row, cursor) {
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
    Ok(ChangesReply::Chunk(chunk(&row, scope, cursor, next, entries)))
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
