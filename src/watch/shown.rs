//! The documents that a watch has yielded.

use std::collections::HashMap;

use sync_core::model::{DocumentId, LocalSeq};

/// The most ids that are kept.
const MOST: usize = 4_096;

/// The documents that were yielded and not removed since, each with the place of the yielded state.
/// Above [`MOST`] none are kept: then any document may have been yielded.
#[derive(Debug)]
pub(super) struct Shown(Option<HashMap<DocumentId, LocalSeq>>);

impl Shown {
    pub(super) fn new() -> Self {
        Self(Some(HashMap::new()))
    }

    /// Records that a state was yielded.
    pub(super) fn insert(&mut self, id: &DocumentId, place: LocalSeq) {
        if let Some(known) = &mut self.0 {
            known.insert(id.clone(), place);
            if known.len() > MOST {
                self.0 = None;
            }
        }
    }

    /// Returns whether the state at that place, or a newer one, was certainly yielded.
    pub(super) fn has(&self, id: &DocumentId, place: LocalSeq) -> bool {
        self.0.as_ref().and_then(|known| known.get(id)).is_some_and(|told| *told >= place)
    }

    /// Marks the document as not yielded, and returns whether it may have been yielded.
    pub(super) fn remove(&mut self, id: &DocumentId) -> bool {
        self.0.as_mut().is_none_or(|known| known.remove(id).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_bound_any_document_may_have_been_yielded() {
        let id = |n: usize| DocumentId::new(n.to_string()).unwrap();
        let mut shown = Shown::new();
        for n in 0..MOST {
            shown.insert(&id(n), LocalSeq(7));
        }
        assert!(shown.has(&id(3), LocalSeq(7)) && !shown.has(&id(3), LocalSeq(8)));
        assert!(shown.remove(&id(3)) && !shown.remove(&id(3)));
        shown.insert(&id(3), LocalSeq(8));
        shown.insert(&id(MOST), LocalSeq(9));
        assert!(shown.0.is_none());
        assert!(!shown.has(&id(4), LocalSeq(7)) && shown.remove(&id(MOST + 1)));
    }
}
