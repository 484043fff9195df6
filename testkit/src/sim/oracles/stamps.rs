//! A state's stamp is after those of the states it was made of, and never further ahead of the server's time than the
//! bound: a wrong clock neither wins for ever nor is locked out.

use sync_core::clock::{Clock, DRIFT_BOUND, Now};
use sync_core::model::{DocumentState, RejectionCode, VerdictKind, Verdicts};

use crate::sim::history::{Story, key_of};

use super::{Fact, History, Look, Oracle, Verdict};

#[derive(Debug)]
pub(super) struct Stamps;

fn follows(before: Option<&DocumentState>, after: Option<&DocumentState>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    before.revision < after.revision
}

/// Whether the earlier of two own edits was made by a clock that ran ahead, and had reached no server: the later one, by the
/// clock set right, takes its place.
fn ran_ahead(story: &Story, before: &DocumentState, after: &DocumentState) -> bool {
    let then = Now(after.revision.stamp.millis());
    story.is_news(before) && Clock::is_beyond(before.revision.stamp, then, DRIFT_BOUND)
}

impl Oracle for Stamps {
    fn name(&self) -> &'static str {
        "stamps"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> Verdict {
        match fact {
            Fact::Wrote { client, key, before, after, .. } => {
                if follows(before.as_ref(), after.as_ref()) || history.cloned {
                    return Ok(());
                }
                let story = history.story(key);
                if after.as_ref().is_some_and(|after| story.is_settled_deletion(after)) {
                    return Ok(()); // It was stamped when it was made.
                }
                if before.as_ref().zip(after.as_ref()).is_some_and(|(b, a)| ran_ahead(story, b, a))
                {
                    return Ok(());
                }
                Err(format!(
                    "client {client} stamped {key} before what it saw: {before:?}, {after:?}"
                ))
            }
            Fact::Appended {
                batch,
                held,
                verdicts: Verdicts::Decided { verdicts, .. },
                entries,
                now,
                ..
            } => {
                for entry in entries {
                    if Clock::is_beyond(entry.state.revision.stamp, Now(*now), DRIFT_BOUND) {
                        return Err(format!("the server believed a stamp at {now}: {entry:?}"));
                    }
                    let at = verdicts.iter().position(|v| v.seq == entry.seq);
                    let Some(at) = at.filter(|at| verdicts[*at].kind != VerdictKind::Conflict)
                    else {
                        continue;
                    };
                    // The server's resolver may let an older edit stand.
                    if history.made(&key_of(&batch.scope, &batch.changes[at])).is_some() {
                        continue;
                    }
                    let before = held.get(at).and_then(Option::as_ref).map(|r| &r.state);
                    let is_known = history.cloned || history.restored;
                    // What did not know of an erasure makes way for it, however new it is.
                    let erased = before.is_some_and(|b| b.erased < entry.state.erased);
                    if !is_known && !erased && !follows(before, Some(&entry.state)) {
                        return Err(format!(
                            "a state went behind the one it replaces: {before:?}, {entry:?}"
                        ));
                    }
                }
                Ok(())
            }
            // The replica stamps anew and pushes again: whose clock is wrong is not locked out.
            Fact::Refused { client, key, rejection } => match rejection.code {
                RejectionCode::Clock { .. } => {
                    Err(format!("client {client} gave up {key} because of its clock"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
