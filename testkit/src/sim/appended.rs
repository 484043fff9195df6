//! What the history records of a batch that the server appended.

use sync_core::model::{VerdictKind, Verdicts};

use super::fact::Fact;
use super::history::{History, key_of};

impl History {
    pub(super) fn note_append(&mut self, fact: &Fact) {
        let Fact::Appended { batch, held, verdicts, entries, .. } = fact else { return };
        let Verdicts::Decided { verdicts, .. } = verdicts else { return };
        for ((change, held), verdict) in batch.changes.iter().zip(held).zip(verdicts) {
            let key = key_of(&batch.scope, change);
            let asked = self.made.contains_key(&key);
            let row = held.as_ref().map(|r| &r.state);
            let story = self.story_mut(&key);
            let (has, offered) = (story.of(row), story.of_revision(change.state.revision));
            let entry = entries.iter().find(|e| {
                (&e.collection, &e.id) == (&change.collection, &change.id) && e.seq == verdict.seq
            });
            match (&verdict.kind, entry) {
                (VerdictKind::Accepted | VerdictKind::Merged, Some(entry)) => {
                    let writes = if asked { has.union(&offered) } else { offered };
                    story.name(&entry.state, &writes, row.filter(|_| asked));
                    story.reached.extend(&writes);
                    story.note_travelled(entry.state.revision);
                }
                (VerdictKind::Superseded, _)
                    if row.map_or(change.state.is_deleted(), |r| r.body == change.state.body) =>
                {
                    story.ended.extend(&offered.without(&has));
                }
                _ => {}
            }
        }
    }
}
