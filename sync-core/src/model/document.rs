//! The state of a document: in a replica, on the server and on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::{Body, Collection, DocumentId, Epoch, Revision, Seq, Stamp};

/// One state of a document: a body, or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DocumentState {
    /// The stamp of the write that made this state. No two states share one.
    pub revision: Revision,
    /// The write by which a resolver weighs this state. It differs from `revision` only if a
    /// resolver let an older edit win: the new revision identifies the new state, the author is
    /// that of the older edit. So a winner does not get younger each time it wins.
    pub author: Revision,
    /// When the document was first written.
    pub created: Stamp,
    /// The body; none in a tombstone.
    pub body: Option<Body>,
    /// The newest erasure that this state includes: the revision of the state that erased the
    /// document, which is the state's own in an erased tombstone. None if the document was never
    /// erased.
    ///
    /// Every later write of the document keeps it. So of two states the one that includes the newer
    /// erasure wins, and a state that was written without knowledge of it is discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Revision>,
}

impl DocumentState {
    /// Creates the first state of a document: `revision` is also its author and the time of its
    /// creation, and it includes no erasure.
    #[must_use]
    pub fn new(revision: Revision, body: Option<Body>) -> Self {
        Self { revision, author: revision, created: revision.stamp, body, erased: None }
    }

    /// Whether this state is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.body.is_none()
    }

    /// Returns whether this state is the erased tombstone: the one that erased the document.
    #[must_use]
    pub fn is_erasure(&self) -> bool {
        self.is_deleted() && self.erased == Some(self.revision)
    }

    /// Returns the newest erasure that a state includes; none without a state.
    #[must_use]
    pub fn erasure_of(state: Option<&Self>) -> Option<Revision> {
        state.and_then(|s| s.erased)
    }

    /// Returns the same state as a tombstone.
    #[must_use]
    pub fn without_body(self) -> Self {
        Self { body: None, ..self }
    }

    /// Returns whether both states look the same to the app: both deleted, or equal bodies.
    #[must_use]
    pub fn shows_the_same(&self, other: &Self) -> bool {
        self.body == other.body
    }

    /// Returns roughly how many bytes this state takes up, for limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        64 + self.body.as_ref().map_or(0, Body::len)
    }
}

/// What the server has for a document at a position: a state, or none (purged or never stored).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerState {
    /// The state's position; for an absent document the position at which it is known to be absent.
    pub seq: Seq,
    /// The state, or none when the server has no row for the document.
    pub state: Option<DocumentState>,
}

/// A server state that was applied: the base of edits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settled {
    /// The life of the log.
    pub epoch: Epoch,
    /// Its position there.
    pub seq: Seq,
    /// The state.
    pub state: DocumentState,
}

/// The digest of a set of documents: equal sets have equal digests, in whatever order they were
/// added.
///
/// The sum, modulo 2^128, of the 128-bit XXH3 hashes of every live document's collection, id and
/// revision (each length-prefixed; PROTOCOL.md gives the exact bytes). With a sum, adding and
/// removing single documents keeps it up to date.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl Digest {
    fn of(collection: &Collection, id: &DocumentId, revision: &Revision) -> u128 {
        let mut hash = Xxh3Default::new();
        for name in [collection.as_bytes(), id.as_bytes()] {
            hash.update(&(name.len() as u32).to_le_bytes());
            hash.update(name);
        }
        hash.update(&revision.stamp.to_bits().to_be_bytes());
        hash.update(&revision.replica.0);
        hash.digest128()
    }

    /// Adds a live document.
    pub fn add(&mut self, collection: &Collection, id: &DocumentId, revision: &Revision) {
        self.0 = self.0.wrapping_add(Self::of(collection, id, revision));
    }

    /// Removes a document that was added before.
    pub fn remove(&mut self, collection: &Collection, id: &DocumentId, revision: &Revision) {
        self.0 = self.0.wrapping_sub(Self::of(collection, id, revision));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ReplicaId;

    #[test]
    fn a_digest_does_not_depend_on_order_and_forgets_what_is_removed() {
        let c = Collection::new("notes").unwrap();
        let ids = ["a", "b", "c"].map(|i| DocumentId::new(i).unwrap());
        let r = Revision { stamp: Stamp::new(5, 0), replica: ReplicaId([1; 16]) };
        let (mut one, mut two) = (Digest::default(), Digest::default());
        for id in &ids {
            one.add(&c, id, &r);
        }
        for id in ids.iter().rev() {
            two.add(&c, id, &r);
        }
        assert_eq!(one, two);
        for id in &ids {
            one.remove(&c, id, &r);
        }
        assert_eq!(one, Digest::default());
    }
}
