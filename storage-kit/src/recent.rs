//! The newest changes in memory, with the data that the database does not keep: every single
//! operation and the state before it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sync_core::model::{DocumentKey, Limits, LocalSeq};
use sync_core::replica::{Committed, DocumentChange};

/// The bounds of the changes that are kept.
const CHANGES: usize = 8_192;
const BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
struct Remembered {
    changes: BTreeMap<LocalSeq, DocumentChange>,
    bytes: usize,
}

impl Remembered {
    /// Removes the bodies of erased documents from the kept changes.
    fn erase(&mut self, keys: &[DocumentKey]) {
        if keys.is_empty() {
            return;
        }
        for change in self.changes.values_mut().filter(|c| keys.contains(&c.key)) {
            self.bytes -= weight(change);
            change.drop_bodies();
            self.bytes += weight(change);
        }
    }
}

/// The newest changes that this process committed. Nothing is kept before the first read of
/// changes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    wanted: AtomicBool,
    remembered: Mutex<Remembered>,
}

fn weight(change: &DocumentChange) -> usize {
    let of = |s: &Option<sync_core::model::DocumentState>| s.as_ref().map_or(0, |s| s.weight());
    64 + of(&change.document) + of(&change.previous)
}

impl Recent {
    /// Adds the committed changes, before any waiting reader is woken.
    pub(super) fn add(&self, committed: &Committed) {
        let Committed { changes, erased, .. } = committed;
        if changes.is_empty() && erased.is_empty() || !self.wanted.load(Ordering::Acquire) {
            return;
        }
        let mut kept = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        kept.erase(erased);
        for change in changes {
            kept.bytes += weight(change);
            kept.changes.insert(change.at, change.clone());
            while kept.bytes > BYTES || kept.changes.len() > CHANGES {
                let Some((_, oldest)) = kept.changes.pop_first() else { break };
                kept.bytes -= weight(&oldest);
            }
        }
    }

    /// Returns the consecutive changes right after a place; if there are none, the place of the
    /// next change that is kept.
    pub(super) fn after(
        &self,
        after: LocalSeq,
        limits: Limits,
    ) -> Result<Vec<DocumentChange>, Option<LocalSeq>> {
        self.wanted.store(true, Ordering::Release);
        let kept = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut run, mut bytes, mut due) = (Vec::new(), 0, after.next());
        for (at, change) in kept.changes.range(after.next()..) {
            bytes += weight(change);
            let full = run.len() >= limits.documents || bytes > limits.bytes;
            if *at != due || (full && !run.is_empty()) {
                break;
            }
            run.push(change.clone());
            due = due.next();
        }
        if run.is_empty() {
            return Err(kept.changes.range(after.next()..).next().map(|(at, _)| *at));
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::model::{
        Body, Collection, DocumentId, DocumentState, ReplicaId, Revision, Scope, Stamp,
    };
    use sync_core::replica::{Operation, Origin};

    fn change(at: u64) -> DocumentChange {
        let (collection, id) = (Collection::new("c").unwrap(), DocumentId::new("d").unwrap());
        DocumentChange {
            key: DocumentKey::new(Scope::default(), collection, id),
            operation: Operation::Update,
            document: None,
            previous: None,
            at: LocalSeq(at),
            origin: Origin::Local,
        }
    }

    fn of(changes: Vec<DocumentChange>) -> Committed {
        Committed { changes, ..Committed::default() }
    }

    #[test]
    fn bodies_of_erased_documents_are_not_kept() {
        let recent = Recent::default();
        let _ = recent.after(LocalSeq(0), Limits::CHUNK);
        let revision = Revision { stamp: Stamp::new(1, 0), replica: ReplicaId([1; 16]) };
        let state = DocumentState::new(revision, Body::parse("1").ok());
        let (document, previous) = (Some(state.clone()), Some(state));
        let written = DocumentChange { document, previous, ..change(1) };
        let key = written.key.clone();
        recent.add(&of(vec![written]));
        recent.add(&Committed { erased: vec![key], ..Committed::default() });
        let told = recent.after(LocalSeq(0), Limits::CHUNK).unwrap();
        assert!(told[0].previous.is_none() && told[0].document.as_ref().unwrap().body.is_none());
        assert_eq!(recent.remembered.lock().unwrap().bytes, weight(&told[0]));
    }

    #[test]
    fn a_run_ends_where_another_process_wrote() {
        let recent = Recent::default();
        recent.add(&of(vec![change(1)]));
        assert_eq!(recent.after(LocalSeq(0), Limits::CHUNK), Err(None), "nobody had asked yet");
        recent.add(&of(vec![change(2), change(3), change(6)]));
        let run = recent.after(LocalSeq(1), Limits::CHUNK).unwrap();
        assert_eq!(run.iter().map(|c| c.at.0).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(recent.after(LocalSeq(3), Limits::CHUNK), Err(Some(LocalSeq(6))));
    }

    #[test]
    fn memory_is_bounded() {
        let recent = Recent::default();
        let _ = recent.after(LocalSeq(0), Limits::CHUNK);
        for at in 1..=CHANGES as u64 + 10 {
            recent.add(&of(vec![change(at)]));
        }
        assert_eq!(recent.after(LocalSeq(0), Limits::CHUNK), Err(Some(LocalSeq(11))));
    }
}
