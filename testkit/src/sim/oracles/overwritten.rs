//! The server replaces a state only by one that knows it, and drops no change with the verdict
//! superseded (guarantees 1 and 3).

use sync_core::model::{VerdictKind, Verdicts};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::history::key_of;

#[derive(Debug)]
pub(super) struct Overwritten;

impl Oracle for Overwritten {
    fn name(&self) -> &'static str {
        "overwritten"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        let Fact::Appended {
            batch,
            held,
            verdicts: Verdicts::Decided { verdicts, .. },
            entries,
            ..
        } = fact
        else {
            return Ok(());
        };
        for ((change, held), verdict) in batch.changes.iter().zip(held).zip(verdicts) {
            let key = key_of(&batch.scope, change);
            let story = history.story(&key);
            let row = held.as_ref().map(|r| &r.state);
            let (has, offered) = (story.of(row), story.of_revision(change.state.revision));
            let is_written = entries.iter().any(|e| {
                (&e.collection, &e.id) == (&change.collection, &change.id) && e.seq == verdict.seq
            });
            match verdict.kind {
                VerdictKind::Accepted if is_written && history.made(&key).is_none() => {
                    let turned = history.are_erasures_turned_round(&key, row, Some(&change.state));
                    if let Some(n) = story.missing(&has, &offered).filter(|_| !turned) {
                        let write = story.writes[n];
                        return Err(format!(
                            "write {n} of {key} ({write:?}) was overwritten by one that did not know it: {row:?} by {change:?}"
                        ));
                    }
                }
                VerdictKind::Superseded => {
                    let both_gone = change.state.is_deleted() && row.is_none_or(|r| r.is_deleted());
                    let same = row.is_some_and(|r| r.body == change.state.body);
                    let turned = history.are_erasures_turned_round(&key, Some(&change.state), row);
                    let excused = both_gone || same || turned;
                    if let Some(n) = story.missing(&offered, &has).filter(|_| !excused) {
                        let write = story.writes[n];
                        return Err(format!(
                            "write {n} of {key} ({write:?}) was dropped as superseded: {change:?}"
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
