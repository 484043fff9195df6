//! A state's stamp is after those of the states it was made of, and never further ahead of the
//! server's time than the bound, or than the state it replaces; the same holds for the author's
//! stamp. So a wrong clock neither wins for ever nor is locked out.

use sync_core::clock::{Clock, DRIFT_BOUND, Now};
use sync_core::model::{
    DocumentKey, DocumentState, RejectionCode, Seq, Stamp, VerdictKind, Verdicts,
};

use crate::sim::history::key_of;
use crate::sim::story::Story;
use crate::sim::stranger::is_stranger;

use super::{Fact, History, Look, Oracle, OracleResult};

#[derive(Debug)]
pub(super) struct Stamps;

fn follows(before: Option<&DocumentState>, after: Option<&DocumentState>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    before.revision < after.revision
}

/// Returns which stamp of a state is further ahead than that time and the state it replaces allow.
fn too_far(
    state: &DocumentState,
    replaced: Option<&DocumentState>,
    now: Now,
) -> Option<&'static str> {
    let parent = replaced.map_or(Stamp::ZERO, |r| r.revision.stamp);
    let author = replaced.map_or(Stamp::ZERO, |r| r.revision.stamp.max(r.author.stamp));
    let is_beyond = |stamp, parent| Clock::is_beyond_parent(stamp, now, DRIFT_BOUND, parent);
    // The server may make a state of its own state and a received one, both of which it admitted.
    if is_beyond(state.revision.stamp, parent) {
        return Some("a stamp");
    }
    is_beyond(state.author.stamp, author).then_some("the stamp of an author")
}

/// Returns whether the earlier of two own edits was made by a clock that ran ahead, and had reached
/// no server: the later one, by the right clock, replaces it.
fn ran_ahead(story: &Story, before: &DocumentState, after: &DocumentState) -> bool {
    let then = Now(after.revision.stamp.millis());
    story.is_news(before) && Clock::is_beyond(before.revision.stamp, then, DRIFT_BOUND)
}

/// Returns whether a document that was just written had no tombstone on the replica any more:
/// tombstones below the horizon leave it, also those that were replaced where the replica may not
/// read.
fn has_left(client: usize, key: &DocumentKey, look: &mut dyn Look) -> bool {
    let is_based = look.record(client, key).is_some_and(|record| record.base().is_some());
    !is_based && look.server_scope(&key.scope).is_some_and(|scope| scope.horizon > Seq(0))
}

impl Oracle for Stamps {
    fn name(&self) -> &'static str {
        "stamps"
    }

    fn see(&mut self, fact: &Fact, history: &History, look: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Wrote { client, key, before, after, .. } => {
                let story = history.story(key);
                if follows(before.as_ref(), after.as_ref()) || story.cloned {
                    return Ok(());
                }
                if before.as_ref().is_some_and(|before| {
                    story.was_purged(before)
                        || (before.is_deleted() && has_left(*client, key, look))
                }) {
                    return Ok(()); // It may have left the replica, as it left the server.
                }
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
                    let place = batch.changes.iter().position(|change| {
                        change.id == entry.id && change.collection == entry.collection
                    });
                    let replaced = place.and_then(|at| held.get(at)?.as_ref());
                    if let Some(what) = too_far(&entry.state, replaced.map(|r| &r.state), Now(*now))
                    {
                        return Err(format!("the server believed {what} at {now}: {entry:?}"));
                    }
                    let at = verdicts.iter().position(|v| v.seq == entry.seq);
                    let Some(at) = at.filter(|at| verdicts[*at].kind != VerdictKind::Conflict)
                    else {
                        continue;
                    };
                    // The server's resolver may keep an older edit.
                    let key = key_of(&batch.scope, &batch.changes[at]);
                    if history.made(&key).is_some() {
                        continue;
                    }
                    let before = held.get(at).and_then(Option::as_ref).map(|r| &r.state);
                    let story = history.story(&key);
                    let is_known = story.cloned || story.restored;
                    // A state that did not know of an erasure is removed, however new it is.
                    let erased = before.is_some_and(|b| b.erased < entry.state.erased);
                    // The server bounds the stamps of a client that breaks the protocol, and does
                    // not put them in order.
                    let breaks = is_stranger(batch.replica);
                    if !is_known && !erased && !breaks && !follows(before, Some(&entry.state)) {
                        return Err(format!(
                            "a state went behind the one it replaces: {before:?}, {entry:?}"
                        ));
                    }
                }
                Ok(())
            }
            // The replica stamps the edit anew and pushes again: a device with a wrong clock can
            // still write.
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
