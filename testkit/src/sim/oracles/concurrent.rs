//! A resolver is called if and only if two edits were made without knowledge of each other
//! (guarantee 4).

use sync_core::model::DocumentState;

use super::{Fact, History, Look, Oracle, OracleResult};

#[derive(Debug)]
pub(super) struct Concurrent;

impl Oracle for Concurrent {
    fn name(&self) -> &'static str {
        "concurrent"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        let Fact::Asked { client, call } = fact else { return Ok(()) };
        if let Some(client) = client.filter(|_| call.on_server) {
            return Err(format!("client {client} decided what the server decides: {call:#?}"));
        }
        if call.remote.is_none() {
            return Ok(());
        }
        // Revisions alone do not show what a restore removed.
        let story = history.story(&call.key);
        if story.restored || story.detached || story.dissolved {
            return Ok(());
        }
        let local = history.asked(*client, &call.key, &call.local);
        let remote = history.story(&call.key).of(call.remote.as_ref());
        // A clone, or a device that was restored from a copy, cannot know what followed an edit
        // that the other one had too. It recognises its own states.
        let is_own = |state: &DocumentState| client.is_some_and(|c| story.is_own_of(c, state));
        let is_shared = story.cloned || story.forked;
        if is_shared && !call.remote.as_ref().is_some_and(is_own) {
            return Ok(());
        }
        if local.is_subset(&remote) || remote.is_subset(&local) {
            let who = client.map_or("the server".to_owned(), |c| format!("client {c}"));
            return Err(format!(
                "{who} asked its resolver about {}, and one edit descends from the other: {call:#?}",
                call.key
            ));
        }
        Ok(())
    }
}
