//! The documents that a reader of `watch` has received, which determine the operation it is sent.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use twotide::backend::model::{DocumentKey, Limits, LocalSeq};
use twotide::backend::replica::{Operation, Scan};
use twotide::{Change, Replica};

use crate::failure::Failure;

/// The most documents that are kept, each as 8 bytes of its hash.
const MOST: usize = 100_000;

/// Whether a document exists for the reader.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    There,
    Gone,
    /// It was written after the place where the reader begins: it may have existed before.
    Unclear,
}

/// The state of each document for the reader. The feed has a document that was written several
/// times since the last read once, in its newest state: one that was deleted and created again is
/// an update for a reader that received neither.
pub(super) struct Told {
    documents: HashMap<u64, Known>,
    /// Whether a document that is not among them does not exist for the reader.
    is_complete: bool,
}

impl Told {
    /// Returns the state for a reader that has read the feed up to that place.
    pub(super) async fn until(replica: &Replica, after: LocalSeq) -> Result<Self, Failure> {
        let mut told = Self { documents: HashMap::new(), is_complete: true };
        if after == LocalSeq(0) {
            return Ok(told);
        }
        for summary in replica.state().await?.scopes {
            let scope = summary.scope;
            if scope != *replica.scope() && !scope.is_local() {
                continue;
            }
            if summary.documents > MOST as u64 {
                return Ok(Self { documents: HashMap::new(), is_complete: false });
            }
            let mut place = None;
            loop {
                let (scope, limits) = (scope.clone(), Limits::CHUNK);
                let scan = Scan { scope, collection: None, after: place, limits };
                let page = replica.storage().scan(scan).await?;
                place = page.items.last().map(|s| (s.key.collection.clone(), s.key.id.clone()));
                for stored in &page.items {
                    let known = if stored.changed <= after { Known::There } else { Known::Unclear };
                    told.note(&stored.key, known);
                }
                if !page.more {
                    break;
                }
            }
        }
        Ok(told)
    }

    /// Returns the operation that a change is for the reader, and records it; none for a document
    /// that was created and deleted since the last read, and was never pushed.
    pub(super) fn operation(&mut self, change: &Change) -> Option<Operation> {
        let is_there = change.operation() != Operation::Delete;
        let before = self.note(change.key(), if is_there { Known::There } else { Known::Gone });
        match before {
            Known::Gone if !is_there && change.revision().is_none() => None,
            _ if !is_there => Some(Operation::Delete),
            Known::There => Some(Operation::Update),
            Known::Gone => Some(Operation::Insert),
            Known::Unclear => Some(change.operation()),
        }
    }

    /// Records the new state for the reader, and returns the one before.
    fn note(&mut self, key: &DocumentKey, known: Known) -> Known {
        let mut hasher = DefaultHasher::new();
        (&key.scope, &key.collection, &key.id).hash(&mut hasher);
        let unknown = if self.is_complete { Known::Gone } else { Known::Unclear };
        if self.documents.len() >= MOST {
            self.documents.clear();
            self.is_complete = false;
        }
        self.documents.insert(hasher.finish(), known).unwrap_or(unknown)
    }
}
