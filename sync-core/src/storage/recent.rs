//! The newest changes in memory, with what the database does not keep: every single operation and the state before it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::{Limits, LocalSeq};
use crate::replica::DocumentChange;

/// Bounds of what is remembered.
const CHANGES: usize = 8_192;
const BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
struct Remembered {
    changes: BTreeMap<LocalSeq, DocumentChange>,
    bytes: usize,
}

/// The newest changes that this process committed. Nothing is remembered before somebody asks for the first time.
#[derive(Debug, Default)]
pub(super) struct Recent {
    wanted: AtomicBool,
    remembered: Mutex<Remembered>,
}

fn weight(change: &DocumentChange) -> usize {
    let of = |s: &Option<crate::model::DocumentState>| s.as_ref().map_or(0, |s| s.weight());
    64 + of(&change.document) + of(&change.previous)
}

impl Recent {
    /// Takes in what was committed, before anybody is woken.
    pub(super) fn add(&self, changes: &[DocumentChange]) {
        if changes.is_empty() || !self.wanted.load(Ordering::Acquire) {
            return;
        }
        let mut kept = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            kept.bytes += weight(change);
            kept.changes.insert(change.at, change.clone());
            while kept.bytes > BYTES || kept.changes.len() > CHANGES {
                let Some((_, oldest)) = kept.changes.pop_first() else { break };
                kept.bytes -= weight(&oldest);
            }
        }
    }

    /// The unbroken run of changes right after a place, and otherwise where the next remembered one is.
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
    use crate::model::{Collection, DocumentId, DocumentKey, Scope};
    use crate::replica::{Operation, Origin};

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

    #[test]
    fn a_run_ends_where_another_process_wrote() {
        let recent = Recent::default();
        recent.add(&[change(1)]);
        assert_eq!(recent.after(LocalSeq(0), Limits::CHUNK), Err(None), "nobody had asked yet");
        recent.add(&[change(2), change(3), change(6)]);
        let run = recent.after(LocalSeq(1), Limits::CHUNK).unwrap();
        assert_eq!(run.iter().map(|c| c.at.0).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(recent.after(LocalSeq(3), Limits::CHUNK), Err(Some(LocalSeq(6))));
    }

    #[test]
    fn memory_is_bounded() {
        let recent = Recent::default();
        let _ = recent.after(LocalSeq(0), Limits::CHUNK);
        for at in 1..=CHANGES as u64 + 10 {
            recent.add(&[change(at)]);
        }
        assert_eq!(recent.after(LocalSeq(0), Limits::CHUNK), Err(Some(LocalSeq(11))));
    }
}
