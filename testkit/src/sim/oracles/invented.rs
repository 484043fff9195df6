//! Every state was made by an app or a resolver; the server writes only what apps caused (no echo,
//! guarantees 3 and 4).

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::fact::Cause;
use crate::sim::history::key_of;
use sync_core::model::Verdicts;

#[derive(Debug)]
pub(super) struct Invented;

impl Oracle for Invented {
    fn name(&self) -> &'static str {
        "invented"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Changed { client, key, before, after: Some(after), cause } => {
                let story = history.story(key);
                let stamped = before.as_ref().is_some_and(|b| b.body == after.body);
                let decided = matches!(cause, Cause::Decided(_));
                let made = history.made(key).is_some();
                if story.knows(after) || stamped || decided || made || story.cloned {
                    return Ok(());
                }
                Err(format!("client {client} shows a state of {key} that nobody made: {after:?}"))
            }
            Fact::Appended { batch, verdicts: Verdicts::Decided { .. }, entries, .. } => {
                for entry in entries {
                    let change = batch
                        .changes
                        .iter()
                        .find(|c| (&c.collection, &c.id) == (&entry.collection, &entry.id));
                    let Some(change) = change else {
                        return Err(format!("the server wrote what was not pushed: {entry:?}"));
                    };
                    let key = key_of(&batch.scope, change);
                    let is_pushed = entry.state.body == change.state.body;
                    if !is_pushed && history.made(&key).is_none() {
                        return Err(format!("the server made a state by itself: {entry:?}"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
