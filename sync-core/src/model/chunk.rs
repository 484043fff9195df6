//! What travels from the server to a replica.

use std::collections::BTreeSet;

use super::{
    Bookmark, Bookmarks, Collection, DocumentId, DocumentState, Epoch, LogMark, Scope, Seq,
};

/// One document at its newest position in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogEntry {
    /// The position.
    pub seq: Seq,
    /// The collection.
    pub collection: Collection,
    /// The id within it.
    pub id: DocumentId,
    /// The state.
    pub state: DocumentState,
}

impl LogEntry {
    /// Roughly the bytes that this entry takes up, for limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.collection.as_bytes().len() + self.id.as_bytes().len() + self.state.weight()
    }
}

/// A bounded run of the log: everything whose newest position lies in `(after, next]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// The scope.
    pub scope: Scope,
    /// The life of the log.
    pub epoch: Epoch,
    /// Where it starts: a replica takes it in only if it stands exactly here.
    pub after: Seq,
    /// Where a replica stands after it; may lie past the last entry.
    pub next: Seq,
    /// The newest position when the chunk was read.
    pub head: Seq,
    /// Below it tombstones are gone.
    pub horizon: Seq,
    /// What the server attests of the log up to `next`; none of an empty log, and of a foreign backend.
    pub mark: Option<LogMark>,
    /// The collections that the reader may see, if those are not all: of what was asked for, the chunk says nothing about
    /// others.
    pub covers: Option<BTreeSet<Collection>>,
    /// The entries, by position.
    pub entries: Vec<LogEntry>,
    /// For the chunk of a foreign backend: what it calls start and end. It does not travel: a server of ours has none.
    pub bookmarks: Option<Bookmarks>,
}

impl Chunk {
    /// Whether the chunk speaks of that collection: what it does not bring of one is not there.
    #[must_use]
    pub fn covers(&self, collection: &Collection) -> bool {
        self.covers.as_ref().is_none_or(|covered| covered.contains(collection))
    }

    /// Whether more follows after this chunk.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.next < self.head
    }

    /// What a foreign backend calls the place after this chunk.
    #[must_use]
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.bookmarks.as_ref().and_then(|b| b.next.clone())
    }

    /// Roughly the bytes that this chunk takes up, for limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        128 + self.entries.iter().map(LogEntry::weight).sum::<usize>()
    }
}

/// The server's answer to a position that means nothing to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reset {
    /// The life of the log that goes on.
    pub epoch: Epoch,
    /// Why.
    pub reason: ResetReason,
}

/// Why a position means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// The log has a new life, which shares positions with the replica's only up to `cut`.
    EpochChanged {
        /// The last position that survived from the replica's epoch; 0 if nothing is known of that epoch.
        cut: Seq,
    },
    /// Deletions below the horizon are forgotten, and the position is below it: everything is pulled afresh.
    BelowHorizon,
    /// Server and replica stand at the same position with different documents.
    DigestDiffers,
    /// The app asked for it: the position is forgotten, unsynced edits are kept.
    Requested,
    /// The position lies beyond the log, and nothing authentic shows that the log ever gave it out. It concerns this client
    /// alone.
    Unproven,
}
