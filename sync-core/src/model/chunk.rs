//! What the server sends to a replica.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    Bookmark, Bookmarks, Collection, Digest, DocumentId, DocumentState, Epoch, LogMark, ReplicaId,
    Scope, Seq, change::digest_of_state,
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
    /// Creates an entry.
    #[must_use]
    pub fn new(seq: Seq, collection: Collection, id: DocumentId, state: DocumentState) -> Self {
        Self { seq, collection, id, state }
    }

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
    /// Where it starts. A replica applies it only at exactly this position.
    pub after: Seq,
    /// The replica's position after it; may lie past the last entry.
    pub next: Seq,
    /// The newest position when the chunk was read.
    pub head: Seq,
    /// Tombstones below it are purged.
    pub horizon: Seq,
    /// The server's mark of the log up to `next`; none for an empty log and a custom backend.
    pub mark: Option<LogMark>,
    /// The collections that the reader may see, if those are not all. Of the requested collections,
    /// the chunk does not cover others.
    pub covers: Option<BTreeSet<Collection>>,
    /// The entries, by position.
    pub entries: Vec<LogEntry>,
    /// Entries without their body, because the reading replica pushed it: by position, the digest
    /// of the whole state. The replica adds the body that it has; see
    /// [`without_own`](Self::without_own).
    pub left_out: BTreeMap<Seq, Digest>,
    /// For the chunk of a custom backend: the bookmarks of its start and its end. They are not
    /// sent: a Twotide server has none.
    pub bookmarks: Option<Bookmarks>,
}

/// The longest body, in bytes, that a server sends although the reading replica pushed it: it is
/// hardly longer than the digest that would replace it.
pub const OWN_BODY_BYTES: usize = 32;

impl Chunk {
    /// Creates the chunk of a reader that is at the head: it holds no entries, and begins and ends
    /// at `after`. A chunk with entries replaces `next`, `head` and `entries`.
    ///
    /// ```
    /// # use sync_core::model::{Chunk, Epoch, Scope, Seq};
    /// let read = Chunk { head: Seq(9), ..Chunk::empty(Scope::default(), Epoch([1; 16]), Seq(4)) };
    /// assert_eq!((read.after, read.next), (Seq(4), Seq(4)));
    /// ```
    #[must_use]
    pub fn empty(scope: Scope, epoch: Epoch, after: Seq) -> Self {
        Self {
            scope,
            epoch,
            after,
            next: after,
            head: after,
            horizon: Seq(0),
            mark: None,
            covers: None,
            entries: Vec::new(),
            left_out: BTreeMap::new(),
            bookmarks: None,
        }
    }

    /// Whether the chunk speaks of that collection: what it does not bring of one is not there.
    #[must_use]
    pub fn covers(&self, collection: &Collection) -> bool {
        self.covers.as_ref().is_none_or(|covered| covered.contains(collection))
    }

    /// Returns the chunk without the bodies of states that a replica made itself, if there are any:
    /// the replica need not download them again. Bodies of at most `short` bytes are kept; a server
    /// uses [`OWN_BODY_BYTES`].
    #[must_use]
    pub fn without_own(&self, replica: ReplicaId, short: usize) -> Option<Self> {
        let is_own = |entry: &LogEntry| {
            let length = entry.state.body.as_ref().map_or(0, |body| body.as_bytes().len());
            entry.state.revision.replica == replica && length > short
        };
        if !self.entries.iter().any(is_own) {
            return None;
        }
        let mut left_out = BTreeMap::new();
        let entries = self.entries.iter().map(|entry| {
            let mut entry = entry.clone();
            if is_own(&entry) {
                left_out.insert(entry.seq, Digest(digest_of_state(None, &entry.state)));
                entry.state.body = None;
            }
            entry
        });
        let entries = entries.collect();
        Some(Self { entries, left_out, ..self.without_entries() })
    }

    fn without_entries(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            mark: self.mark.clone(),
            covers: self.covers.clone(),
            bookmarks: self.bookmarks.clone(),
            entries: Vec::new(),
            left_out: BTreeMap::new(),
            ..*self
        }
    }

    /// Returns whether more follows after this chunk.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.next < self.head
    }

    /// Returns the custom backend's bookmark after this chunk.
    #[must_use]
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.bookmarks.as_ref().and_then(|b| b.next.clone())
    }

    /// Returns roughly how many bytes this chunk takes up, for limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        128 + self.entries.iter().map(LogEntry::weight).sum::<usize>()
    }
}

/// The server's answer to a position that is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Reset {
    /// The epoch that continues.
    pub epoch: Epoch,
    /// The reason.
    pub reason: ResetReason,
}

/// Why a position is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// The log has a new life, which shares positions with the replica's only up to `cut`.
    EpochChanged {
        /// The last position of the replica's epoch that survived; 0 if the server does not know
        /// that epoch.
        cut: Seq,
    },
    /// The position is below the horizon, where tombstones are purged: everything is pulled again.
    BelowHorizon,
    /// Server and replica have different documents at the same position.
    DigestDiffers,
    /// The app requested it: the position is discarded, unsynced edits are kept.
    Requested,
    /// The position lies beyond the log, and no authentic mark shows that the log ever issued it.
    /// It concerns this client alone.
    Unproven,
}
