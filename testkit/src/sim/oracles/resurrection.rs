//! A deleted document does not come back unless a client wrote it again after receiving the
//! deletion, or a resolver chose the edit (guarantee 5).

use sync_core::model::{DocumentState, VerdictKind, Verdicts};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::fact::Cause;
use crate::sim::history::key_of;
use crate::sim::story::Story;

#[derive(Debug)]
pub(super) struct Resurrection;

/// Returns whether a live state follows a tombstone that it does not know.
fn comes_back(
    story: &Story,
    before: Option<&DocumentState>,
    after: Option<&DocumentState>,
) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    before.is_deleted()
        && !after.is_deleted()
        && story.knows(after)
        && story.missing(&story.of(Some(before)), &story.of(Some(after))).is_some()
}

impl Oracle for Resurrection {
    fn name(&self) -> &'static str {
        "resurrection"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Changed { client, key, before, after, cause } => {
                let told = matches!(
                    cause,
                    Cause::Decided(_) | Cause::Refused | Cause::Forgotten | Cause::RolledBack
                );
                let story = history.story(key);
                let back = comes_back(story, before.as_ref(), after.as_ref())
                    && !history.is_time_lost(key)
                    && !story.deletions_met(before.as_ref(), after.as_ref());
                if back && !told && history.made(key).is_none() {
                    return Err(format!(
                        "{key} came back on client {client}: {before:?} became {after:?}"
                    ));
                }
                Ok(())
            }
            Fact::Appended {
                batch,
                held,
                verdicts: Verdicts::Decided { verdicts, .. },
                entries,
                ..
            } => {
                for ((change, held), verdict) in batch.changes.iter().zip(held).zip(verdicts) {
                    let key = key_of(&batch.scope, change);
                    let row = held.as_ref().map(|r| &r.state);
                    // A retried batch gets its verdicts again, and writes nothing.
                    let is_taken = verdict.kind == VerdictKind::Accepted
                        && entries.iter().any(|e| e.seq == verdict.seq);
                    let back = comes_back(history.story(&key), row, Some(&change.state))
                        && !history.is_time_lost(&key);
                    let story = history.story(&key);
                    // A client that has the deletion, or never had the document, makes a new one.
                    let saw_it_alive = change.base.is_some_and(|base| !base.tombstone);
                    let stale = row.is_none()
                        && saw_it_alive
                        && !change.state.is_deleted()
                        && story.goes_on_from_purged(&change.state)
                        && !story.restored
                        && !story.cloned;
                    if is_taken && (back || stale) && history.made(&key).is_none() {
                        return Err(format!(
                            "{key} came back on the server: {row:?} by {change:?}"
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
