//! The state that a broken storage keeps beside the correct one, and its changes of values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sync_core::model::{
    Collection, Digest, DocumentId, DocumentKey, DocumentState, PushId, Revision, Seq, Stamp,
};
use sync_core::replica::{Committed, Stored};
use sync_core::resolver::{Conflict, ConflictResolver, Resolution, Resolvers};

/// The state that the faults keep.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// How many documents a scan had returned when it returned this one.
    pub(super) offsets: BTreeMap<(Collection, DocumentId), usize>,
    /// The digest that is returned although it has changed.
    pub(super) digest: Option<Digest>,
    /// The position that is returned while a chunk is applied.
    pub(super) standing: Option<Seq>,
    /// The number of reads.
    pub(super) looks: u64,
    /// The revision before the newest edit of documents that were edited before.
    pub(super) previous: BTreeMap<DocumentKey, Revision>,
    /// Documents whose edit is dropped.
    pub(super) dropped: BTreeSet<DocumentKey>,
    /// How often a batch was requested.
    pub(super) asked: u64,
    /// The id of the batch in flight, and the number of its changes.
    pub(super) flying: Option<(PushId, usize)>,
}

/// A lock that survives panics.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Memory>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts an id to at most 255 bytes.
pub(super) fn cut(id: &DocumentId) -> DocumentId {
    let mut end = id.as_str().len().min(255);
    while !id.as_str().is_char_boundary(end) {
        end -= 1;
    }
    DocumentId::new(&id.as_str()[..end]).unwrap_or_else(|_| id.clone())
}

/// Rewrites the body as a JSON library would.
pub(super) fn write_anew(stored: &mut Stored) {
    let written = stored.state.body.as_ref().and_then(|body| {
        let value = body.to::<serde_json::Value>().ok()?;
        sync_core::model::Body::from_value(&value).ok()
    });
    stored.state.body = written.or(stored.state.body.take());
}

/// Replaces stamps by the time of the call.
pub(super) fn stamp_by_wall_clock(committed: &mut Committed, millis: u64) {
    let change = |state: &mut DocumentState| {
        state.revision.stamp = Stamp::new(millis, 0);
        state.author.stamp = state.revision.stamp;
    };
    committed.changes.iter_mut().filter_map(|c| c.document.as_mut()).for_each(change);
}

/// A resolver that treats a failure of the inner one as the decision for the server's state.
#[derive(Debug)]
pub(super) struct GivesIn(pub(super) Resolvers);

impl ConflictResolver for GivesIn {
    fn name(&self) -> &str {
        "gives in"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> sync_core::error::Result<Resolution> {
        Ok(match self.0.decide(conflict) {
            Resolution::Defer => Resolution::Remote,
            other => other,
        })
    }
}
