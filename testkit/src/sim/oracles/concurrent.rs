//! A resolver is asked if and only if two edits were made without knowledge of each other (guarantee 4).

use super::{Fact, History, Look, Oracle, Verdict};

#[derive(Debug)]
pub(super) struct Concurrent;

impl Oracle for Concurrent {
    fn name(&self) -> &'static str {
        "concurrent"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> Verdict {
        let Fact::Asked { client, call } = fact else { return Ok(()) };
        if let Some(client) = client.filter(|_| call.on_server) {
            return Err(format!("client {client} decided what the server decides: {call:#?}"));
        }
        // After a restore, and among clones, who knew what cannot be told from revisions alone.
        if history.restored || history.cloned || call.remote.is_none() {
            return Ok(());
        }
        let story = history.story(&call.key);
        if story.detached || story.forked || story.dissolved {
            return Ok(());
        }
        let local = history.asked(*client, &call.key, &call.local);
        let remote = history.story(&call.key).of(call.remote.as_ref());
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
