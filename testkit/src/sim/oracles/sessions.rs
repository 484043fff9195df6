//! Reads on one replica never go back in time, and an app reads its own writes: a state is replaced
//! only by one that knows it (guarantee 7).

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::fact::Cause;

#[derive(Debug)]
pub(super) struct Sessions;

impl Oracle for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        let Fact::Changed { client, key, before, after, cause } = fact else { return Ok(()) };
        let told = matches!(
            cause,
            Cause::Decided(_) | Cause::Refused | Cause::Forgotten | Cause::RolledBack
        );
        let story = history.story(key);
        let is_new = after.as_ref().is_some_and(|a| !story.knows(a));
        let gone = |s: &Option<sync_core::model::DocumentState>| {
            s.as_ref().is_none_or(sync_core::model::DocumentState::is_deleted)
        };
        let body = |s: &Option<sync_core::model::DocumentState>| s.as_ref().map(|s| s.body.clone());
        let same = body(before) == body(after);
        let met = same || story.deletions_met(before.as_ref(), after.as_ref());
        // The server holds the write in a state that the client may not read: it comes back when
        // the client may read it again.
        let withheld =
            *cause == Cause::Settled && history.withheld.contains(&(*client, key.clone()));
        let turned = history.are_erasures_turned_round(key, before.as_ref(), after.as_ref());
        if told
            || is_new
            || met
            || turned
            || withheld
            || history.made(key).is_some()
            || (gone(before) && gone(after))
        {
            return Ok(());
        }
        let (had, has) = (story.of(before.as_ref()), story.of(after.as_ref()));
        match story.missing(&had, &has) {
            None => Ok(()),
            Some(n) => Err(format!(
                "client {client} lost sight of write {n} of {key} ({:?}) by {cause:?}: {before:?} became {after:?}",
                story.writes[n]
            )),
        }
    }
}
