//! How far a replica has pulled, and what it requests next.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bookmark, Chunk, Collection, Epoch, LogMark, Seq};

/// A pull of everything from position 0, which finds the documents that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FullPull {
    /// The head when it began. It begins again only if the horizon moves beyond this.
    pub floor: Seq,
    /// The number of this full pull: the documents that it delivered are marked with it.
    pub generation: u32,
    /// Whether marks are needed. They are not if the replica had nothing settled when it began.
    pub marks: bool,
}

/// How far a replica has applied a scope's log. Opaque to apps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The life of the log; none before the first chunk.
    pub epoch: Option<Epoch>,
    /// Everything at or below it was applied.
    pub position: Seq,
    /// Collections that are further behind than `position` because they were added later.
    pub backfills: BTreeMap<Collection, Seq>,
    /// The full pull that is under way.
    pub full_pull: Option<FullPull>,
    /// The newest mark of the log that the server sent, with a chunk or with verdicts.
    pub mark: Option<LogMark>,
    /// The collections that the replica may see, by the newest chunk; during a full pull, those
    /// that each of its chunks covered. None for all of them.
    pub covered: Option<BTreeSet<Collection>>,
    /// The custom backend's bookmark of this position.
    pub bookmark: Option<Bookmark>,
    /// The newest position that the replica has received. It may be ahead of `position`: verdicts
    /// name positions ahead, and so may chunks from before a pull began again. A transport that
    /// generates positions must continue above it.
    pub seen: Seq,
    /// The collections that the replica has chosen; none for every one that it may see.
    pub collections: Option<BTreeSet<Collection>>,
    /// A chunk left out a body that the replica lacks: it is pulled again with all bodies. Not
    /// stored.
    pub lacks_own: bool,
}

impl Checkpoint {
    /// Returns whether the replica syncs that collection.
    #[must_use]
    pub fn includes(&self, collection: &Collection) -> bool {
        self.collections.as_ref().is_none_or(|chosen| chosen.contains(collection))
    }

    /// Returns whether chunks cover that collection: the replica requests it, and may see it.
    #[must_use]
    pub fn covers(&self, collection: &Collection) -> bool {
        let is_visible = self.covered.as_ref().is_none_or(|covered| covered.contains(collection));
        self.includes(collection) && is_visible
    }

    /// Returns whether the replica may see a collection that it could not see before. The entries
    /// of it that the position has passed are then pulled from the beginning.
    #[must_use]
    pub fn sees_more_than(&self, before: &Self) -> bool {
        let Some(before) = &before.covered else { return false };
        self.covered.as_ref().is_none_or(|covered| !covered.is_subset(before))
    }

    /// Returns whether a mark cannot be of the life of the log that the replica has pulled.
    #[must_use]
    pub fn contradicts(&self, mark: Option<&LogMark>) -> bool {
        self.mark.as_ref().zip(mark).is_some_and(|(known, mark)| known.contradicts(mark))
    }

    /// Stores a mark that the server sent, if it is [newer](LogMark::newer).
    pub fn note_mark(&mut self, mark: Option<&LogMark>) {
        self.mark = LogMark::newer(self.mark.take(), mark.cloned());
    }

    /// Returns where the next chunk must start: the lowest of all positions.
    #[must_use]
    pub fn after(&self) -> Seq {
        self.backfills.values().copied().min().map_or(self.position, |b| b.min(self.position))
    }

    /// Moves every position that is below `next` to it. Positions never move back.
    pub fn advance(&mut self, next: Seq) {
        self.position = self.position.max(next);
        let position = self.position;
        self.backfills.retain(|_, own| {
            *own = (*own).max(next);
            *own < position
        });
    }

    /// Returns the request that continues from here.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            after: self.after(),
            position: self.position,
            backfills: self.backfills.clone(),
            floor: self.full_pull.map(|f| f.floor),
            mark: self.mark.clone(),
            collections: self.collections.clone(),
            bookmark: self.bookmark.clone(),
            has_own: !self.lacks_own,
            seen: self.seen,
        }
    }
}

/// A checkpoint in the form that the server receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The life of the log that the positions belong to; none for a replica that never pulled.
    pub epoch: Option<Epoch>,
    /// The requested chunk starts here.
    pub after: Seq,
    /// The position of every collection that is not named in `backfills`.
    pub position: Seq,
    /// The collections that are at another position.
    pub backfills: BTreeMap<Collection, Seq>,
    /// The head at which a running full pull began.
    pub floor: Option<Seq>,
    /// The newest mark of the log that the replica has: the evidence for its positions.
    pub mark: Option<LogMark>,
    /// The requested collections; none for every one that the reader may see.
    pub collections: Option<BTreeSet<Collection>>,
    /// Whether the replica has the bodies that it pushed. The server then leaves them out.
    pub has_own: bool,
    /// The custom backend's bookmark of this position. It is not sent to a Twotide server, which
    /// has positions.
    pub bookmark: Option<Bookmark>,
    /// As in the [checkpoint](Checkpoint::seen). It is not sent either.
    pub seen: Seq,
}

impl Cursor {
    /// The most collections that a received cursor may name: those that are chosen and those in
    /// `backfills` together.
    pub const COLLECTIONS: usize = 20_000;

    /// Returns how many collections it names.
    #[must_use]
    pub fn names(&self) -> usize {
        self.backfills.len() + self.collections.as_ref().map_or(0, BTreeSet::len)
    }

    /// Returns whether that collection is requested.
    #[must_use]
    pub fn includes(&self, collection: &Collection) -> bool {
        self.collections.as_ref().is_none_or(|chosen| chosen.contains(collection))
    }

    /// Returns the position from which a collection's entries are requested.
    #[must_use]
    pub fn position_of(&self, collection: &Collection) -> Seq {
        self.backfills.get(collection).copied().unwrap_or(self.position)
    }

    /// Returns the cursor that continues after a chunk of that epoch and mark, which ended at
    /// `next` when the log ended at `head`. A pull from position 0, also of a single collection,
    /// keeps the head at which it began, until it reaches the head.
    ///
    /// It has no bookmark: [`at`](Self::at) adds the chunk's.
    #[must_use]
    pub fn advanced(&self, epoch: Epoch, next: Seq, head: Seq, mark: Option<&LogMark>) -> Self {
        let begins = self.after == Seq(0);
        let mut checkpoint = Checkpoint {
            epoch: Some(epoch),
            position: self.position,
            backfills: self.backfills.clone(),
            mark: self.mark.clone(),
            seen: self.seen,
            collections: self.collections.clone(),
            ..Checkpoint::default()
        };
        checkpoint.advance(next);
        checkpoint.note_mark(mark);
        let floor = self.floor.or_else(|| begins.then_some(head)).filter(|_| next < head);
        Self { floor, has_own: self.has_own, ..checkpoint.cursor() }
    }

    /// Returns this cursor with the bookmark of a custom backend, or without one.
    #[must_use]
    pub fn at(self, bookmark: Option<Bookmark>) -> Self {
        Self { bookmark, ..self }
    }
}

impl Cursor {
    /// Returns the cursor that continues after a chunk, for a reader that keeps nothing else.
    #[must_use]
    pub fn following(&self, chunk: &Chunk) -> Self {
        self.advanced(chunk.epoch, chunk.next, chunk.head, chunk.mark.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LogKey, LogRun, ServerStart};

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
    fn a_cursor_that_follows_a_chunk_carries_the_newest_mark() {
        let run = |last| LogRun { start: ServerStart(1), first: Seq(1), last: Seq(last) };
        let mark = |last| Some(LogMark::sign(Epoch([1; 16]), vec![run(last)], &LogKey([7; 16])));
        let mut chunk = Chunk {
            next: Seq(5),
            head: Seq(9),
            mark: mark(5),
            ..Chunk::empty(crate::model::Scope::default(), Epoch([1; 16]), Seq(0))
        };
        let first = Cursor::default().following(&chunk);
        assert_eq!((first.position, first.floor), (Seq(5), Some(Seq(9))));
        assert_eq!(first.mark, mark(5));
        (chunk.after, chunk.next, chunk.head, chunk.mark) = (Seq(5), Seq(9), Seq(9), mark(9));
        let last = first.following(&chunk);
        assert_eq!((last.after, last.position, last.floor), (Seq(9), Seq(9), None));
        assert_eq!(last.mark, mark(9));
        chunk.mark = mark(7);
        assert_eq!(last.following(&chunk).mark, mark(9), "an older mark does not replace it");
        chunk.mark = None;
        assert_eq!(last.following(&chunk).mark, mark(9));
    }
}
