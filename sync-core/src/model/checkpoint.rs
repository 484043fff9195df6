//! How far a replica has come, and what it asks for next.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bookmark, Chunk, Collection, Epoch, Seq, Term};

/// The position at which a server start first wrote to a scope's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TermStart {
    /// The start.
    pub term: Term,
    /// The first position it gave out in this scope.
    pub first: Seq,
}

impl TermStart {
    /// How many starts a history remembers.
    pub const KEPT: usize = 16;
}

/// A pull of everything from position 0, which finds out what is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FullPull {
    /// The head when it began: only a horizon beyond this makes it begin again.
    pub floor: Seq,
    /// Which full pull of the replica it is: documents it delivered are marked with this number.
    pub generation: u32,
    /// Whether marks are needed: not if the replica held nothing settled when it began.
    pub marks: bool,
}

/// How far a replica has applied a scope's log. Opaque to apps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The life of the log; none before the first chunk.
    pub epoch: Option<Epoch>,
    /// Everything at or below it was taken in.
    pub position: Seq,
    /// Collections that are further behind than `position` because they were added later.
    pub backfills: BTreeMap<Collection, Seq>,
    /// The full pull that is under way.
    pub full_pull: Option<FullPull>,
    /// The server starts that wrote what was taken in.
    pub terms: Vec<TermStart>,
    /// What a foreign backend calls this place.
    pub bookmark: Option<Bookmark>,
    /// The newest position that the replica has heard of beside `position`: verdicts name some ahead of it, and a pull
    /// that began again has left some behind. Who makes positions up must go on above it.
    pub seen: Seq,
    /// The collections that all of this is about, if the replica has chosen some; none for every one that it may see.
    pub collections: Option<BTreeSet<Collection>>,
}

impl Checkpoint {
    /// Whether the replica syncs that collection.
    #[must_use]
    pub fn includes(&self, collection: &Collection) -> bool {
        self.collections.as_ref().is_none_or(|chosen| chosen.contains(collection))
    }

    /// Where the next chunk must start: the lowest of all positions.
    #[must_use]
    pub fn after(&self) -> Seq {
        self.backfills.values().copied().min().map_or(self.position, |b| b.min(self.position))
    }

    /// Moves every position to `next` that is behind it. Positions never move back.
    pub fn advance(&mut self, next: Seq) {
        self.position = self.position.max(next);
        let position = self.position;
        self.backfills.retain(|_, own| {
            *own = (*own).max(next);
            *own < position
        });
    }

    /// The request that continues from here.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            after: self.after(),
            position: self.position,
            backfills: self.backfills.clone(),
            floor: self.full_pull.map(|f| f.floor),
            terms: self.terms.clone(),
            collections: self.collections.clone(),
            bookmark: self.bookmark.clone(),
            seen: self.seen,
        }
    }
}

/// A checkpoint as the server is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The life of the log that the positions belong to; none for a replica that never pulled.
    pub epoch: Option<Epoch>,
    /// The chunk that is asked for starts here.
    pub after: Seq,
    /// The position of every collection that is not named in `backfills`.
    pub position: Seq,
    /// Positions of their own.
    pub backfills: BTreeMap<Collection, Seq>,
    /// The head at which a running full pull began.
    pub floor: Option<Seq>,
    /// The server starts that wrote what was taken in.
    pub terms: Vec<TermStart>,
    /// The collections that are asked for; none for every one that the reader may see.
    pub collections: Option<BTreeSet<Collection>>,
    /// What a foreign backend calls this place. It does not travel to a server of ours, which has positions.
    pub bookmark: Option<Bookmark>,
    /// As in the [checkpoint](Checkpoint::seen). It does not travel either.
    pub seen: Seq,
}

impl Cursor {
    /// Whether that collection is asked for.
    #[must_use]
    pub fn includes(&self, collection: &Collection) -> bool {
        self.collections.as_ref().is_none_or(|chosen| chosen.contains(collection))
    }

    /// The position from which a collection's entries are wanted.
    #[must_use]
    pub fn position_of(&self, collection: &Collection) -> Seq {
        self.backfills.get(collection).copied().unwrap_or(self.position)
    }

    /// The cursor that continues after a chunk of that epoch which ended at `next` when the log ended at `head`. A pull
    /// from the very beginning, also of a single collection, remembers the head at which it began, until it is at the head.
    ///
    /// It names no server starts: whoever handed the chunk out knows where it is from, and the starts that were known
    /// before the chunk do not reach to its end. It has no bookmark either: [`at`](Self::at) adds the chunk's.
    #[must_use]
    pub fn advanced(&self, epoch: Epoch, next: Seq, head: Seq) -> Self {
        let begins = self.after == Seq(0);
        let mut checkpoint = Checkpoint {
            epoch: Some(epoch),
            position: self.position,
            backfills: self.backfills.clone(),
            seen: self.seen,
            collections: self.collections.clone(),
            ..Checkpoint::default()
        };
        checkpoint.advance(next);
        let floor = self.floor.or_else(|| begins.then_some(head)).filter(|_| next < head);
        Self { floor, ..checkpoint.cursor() }
    }

    /// This cursor with the bookmark of a foreign backend, or without one.
    #[must_use]
    pub fn at(self, bookmark: Option<Bookmark>) -> Self {
        Self { bookmark, ..self }
    }
}

impl Cursor {
    /// The cursor that continues after a chunk, for a reader who keeps nothing else: like
    /// [`advanced`](Self::advanced), with the server starts that wrote what was taken in, as the chunk names them.
    #[must_use]
    pub fn following(&self, chunk: &Chunk) -> Self {
        let mut next = self.advanced(chunk.epoch, chunk.next, chunk.head);
        let written = chunk.terms.iter().filter(|t| t.first <= next.position);
        let mut terms: Vec<_> = written.copied().collect();
        terms.drain(..terms.len().saturating_sub(TermStart::KEPT));
        next.terms = terms;
        next
    }
}

/// Up to which position two histories of server starts tell of the same log.
///
/// `ours` ends at `head`, `theirs` at `position`. The result is `position` if nothing speaks against it: a replica that
/// remembers no starts cannot be contradicted, and starts that fell out of a bounded memory are believed.
/// The idea is that of leader epochs in replicated logs: a start names who wrote from where, so the end of the last
/// common start is the end of the common log.
#[must_use]
pub fn agree_on_terms(ours: &[TermStart], head: Seq, theirs: &[TermStart], position: Seq) -> Seq {
    let written = theirs.iter().filter(|t| t.first <= position);
    let Some(newest) = written.clone().next_back() else { return position.min(head) };
    if ours.iter().any(|o| o == newest) {
        let end = ours.iter().find(|o| o.first > newest.first).map_or(head, |o| Seq(o.first.0 - 1));
        return position.min(end);
    }
    // The newest start is unknown here: the common log ends where the last common start ends on either side.
    let common = written.rev().find(|t| ours.contains(t));
    common.map_or(Seq(0), |common| {
        let end = |of: &[TermStart], last: Seq| {
            of.iter().find(|t| t.first > common.first).map_or(last, |t| Seq(t.first.0 - 1))
        };
        end(ours, head).min(end(theirs, position))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(term: u64, first: u64) -> TermStart {
        TermStart { term: Term(term), first: Seq(first) }
    }

    #[test]
    fn a_collection_added_later_catches_up_and_then_shares_the_position() {
        let c = Collection::new("late").unwrap();
        let mut checkpoint = Checkpoint { position: Seq(10), ..Checkpoint::default() };
        checkpoint.backfills.insert(c.clone(), Seq(0));
        assert_eq!(checkpoint.after(), Seq(0));
        checkpoint.advance(Seq(6));
        assert_eq!((checkpoint.after(), checkpoint.position), (Seq(6), Seq(10)));
        assert_eq!(checkpoint.cursor().position_of(&c), Seq(6));
        checkpoint.advance(Seq(12));
        assert_eq!((checkpoint.after(), checkpoint.backfills.len()), (Seq(12), 0));
    }

    #[test]
    fn a_cursor_that_follows_a_chunk_names_who_wrote_up_to_it() {
        let mut chunk = Chunk {
            scope: crate::model::Scope::default(),
            epoch: Epoch([1; 16]),
            after: Seq(0),
            next: Seq(5),
            head: Seq(9),
            horizon: Seq(0),
            terms: (1..=20).map(|n| start(n, n)).collect(),
            entries: Vec::new(),
            bookmarks: None,
        };
        let first = Cursor::default().following(&chunk);
        assert_eq!((first.position, first.floor), (Seq(5), Some(Seq(9))));
        assert_eq!(first.terms, (1..=5).map(|n| start(n, n)).collect::<Vec<_>>());
        (chunk.after, chunk.next, chunk.head) = (Seq(5), Seq(30), Seq(30));
        let last = first.following(&chunk);
        assert_eq!((last.after, last.position, last.floor), (Seq(30), Seq(30), None));
        assert_eq!(last.terms.len(), TermStart::KEPT);
    }

    #[test]
    fn histories_that_agree_leave_the_position_alone() {
        let ours = [start(1, 1), start(2, 50)];
        assert_eq!(agree_on_terms(&ours, Seq(80), &ours, Seq(80)), Seq(80));
        assert_eq!(agree_on_terms(&ours, Seq(80), &ours[..1], Seq(30)), Seq(30));
        assert_eq!(agree_on_terms(&ours, Seq(80), &[], Seq(30)), Seq(30));
    }

    #[test]
    fn a_restore_that_nobody_announced_shows_as_a_fork() {
        // Backup at 60 within start 2; the old life went on to 80 and then to start 3 at 81..90.
        let replica = [start(1, 1), start(2, 50), start(3, 81)];
        // The restored server began start 9 at 61.
        let server = [start(1, 1), start(2, 50), start(9, 61)];
        assert_eq!(agree_on_terms(&server, Seq(70), &replica, Seq(90)), Seq(60));
        // The same without a newer start on the replica: start 2 ended at 60 on the server.
        assert_eq!(agree_on_terms(&server, Seq(99), &replica[..2], Seq(80)), Seq(60));
        // Ahead of the head.
        assert_eq!(agree_on_terms(&replica[..2], Seq(60), &replica[..2], Seq(80)), Seq(60));
        // Nothing in common.
        assert_eq!(agree_on_terms(&[start(9, 1)], Seq(9), &[start(1, 1)], Seq(9)), Seq(0));
    }
}
