//! With the last-write-wins resolver and right clocks, a document with nothing but puts ends with
//! the put of the newest author's stamp.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{DocumentKey, Revision};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::fact::Cause;
use crate::sim::story::Story;

#[derive(Debug, Default)]
pub(super) struct Later {
    /// The bodies that were put for each document, and the author of each.
    puts: BTreeMap<DocumentKey, BTreeMap<String, Revision>>,
    /// Documents with an edit that ended otherwise, or with anything but puts.
    others: BTreeSet<DocumentKey>,
    /// Whether a device or the server lost something, or has a wrong clock, which ends the check.
    is_over: bool,
}

impl Oracle for Later {
    fn name(&self) -> &'static str {
        "later write wins"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        if !history.later_wins || self.is_over {
            return Ok(());
        }
        match fact {
            Fact::Wrote { key, after, .. } => {
                match after.as_ref().and_then(|a| Some((a, a.body.as_ref()?))) {
                    Some((state, body)) => {
                        let puts = self.puts.entry(key.clone()).or_default();
                        if puts.insert(body.as_str().to_owned(), state.author).is_some() {
                            self.others.insert(key.clone());
                        }
                    }
                    None => {
                        self.others.insert(key.clone());
                    }
                }
            }
            // Edits in the outbox get other stamps when the client receives the server's time.
            Fact::Changed { key, after: Some(after), cause: Cause::Stamped, .. } => {
                let body = after.body.as_ref().map(|b| b.as_str());
                let put = body.and_then(|b| self.puts.get_mut(key)?.get_mut(b));
                if let Some(author) = put {
                    *author = after.author;
                }
            }
            Fact::Refused { key, .. }
            | Fact::Changed {
                key,
                cause: Cause::Refused | Cause::Forgotten | Cause::Decided(_),
                ..
            } => {
                self.others.insert(key.clone());
            }
            // What only that device had is lost.
            Fact::Wiped { client } | Fact::PutBack { client } => {
                let has_open = |story: &Story| story.oldest_unsettled(*client).is_some();
                let open = history.stories().filter(|(_, story)| has_open(story));
                self.others.extend(open.map(|(key, _)| key.clone()));
            }
            Fact::ServerClockSet | Fact::ClockSet { .. } => self.is_over = true,
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, history: &History, look: &mut dyn Look) -> OracleResult {
        if !history.later_wins || self.is_over {
            return Ok(());
        }
        let scopes: BTreeSet<_> = (0..look.clients()).flat_map(|c| look.scopes_of(c)).collect();
        for scope in scopes {
            for (key, row) in look.server_rows(&scope) {
                let story = history.story(&key);
                let excused = story.restored || story.cloned || story.forked;
                let is_judged = !excused && !self.others.contains(&key);
                let puts = self.puts.get(&key).filter(|_| is_judged);
                let newest = puts.and_then(|puts| puts.iter().max_by_key(|(_, author)| **author));
                let Some((body, author)) = newest else { continue };
                if row.state.body.as_ref().map(|b| b.as_str()) != Some(body) {
                    let state = row.state;
                    return Err(format!(
                        "{key} ends with {state:?}, and the latest write is {body} of {author}"
                    ));
                }
            }
        }
        Ok(())
    }
}
