//! A change takes effect exactly once, whatever was lost, doubled, reordered or cut (guarantee 3).

use std::collections::BTreeMap;

use sync_core::model::{DocumentKey, Epoch, Revision, VerdictKind, Verdicts};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::history::key_of;

#[derive(Debug, Default)]
pub(super) struct ExactlyOnce {
    /// The epoch in which each state was written.
    written: BTreeMap<(DocumentKey, Revision), Epoch>,
}

impl Oracle for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly once"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        let Fact::Appended { batch, held, verdicts, entries, scope, .. } = fact else {
            return Ok(());
        };
        for entry in entries {
            let key =
                DocumentKey::new(batch.scope.clone(), entry.collection.clone(), entry.id.clone());
            let name = (key, entry.state.revision);
            let before = self.written.insert(name.clone(), scope.epoch);
            let story = history.story(&name.0);
            let excused = story.restored || story.cloned || story.dissolved;
            if before == Some(scope.epoch) && !excused {
                return Err(format!("a state was written twice: {:?} of {}", entry.state, name.0));
            }
        }
        // A change that the server holds already is accepted again, and is in conflict with
        // nothing.
        let Verdicts::Decided { verdicts, .. } = verdicts else { return Ok(()) };
        for ((change, held), verdict) in batch.changes.iter().zip(held).zip(verdicts) {
            let is_cloned = history.story(&key_of(&batch.scope, change)).cloned;
            let is_held = held.as_ref().is_some_and(|r| r.state == change.state);
            if is_held && verdict.kind == VerdictKind::Conflict && !is_cloned {
                return Err(format!("a retry was taken for a conflict: {change:?}"));
            }
        }
        Ok(())
    }
}
