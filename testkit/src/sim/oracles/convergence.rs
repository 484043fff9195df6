//! When edits stop and partitions heal, all replicas of a scope hold the documents of the server:
//! equal digests (guarantee 2).

use std::collections::BTreeMap;

use sync_core::model::{DocumentKey, DocumentState};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::story::Story;

#[derive(Debug)]
pub(super) struct Convergence;

impl Oracle for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    /// The comparison of digests repairs differences that should never arise.
    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        let Fact::Differed { client, scope } = fact else { return Ok(()) };
        let excused = |story: &Story| story.restored || story.cloned;
        if history.stories().any(|(key, story)| key.scope == *scope && excused(story)) {
            return Ok(());
        }
        Err(format!(
            "client {client} and the server had other documents at one position of {scope}"
        ))
    }

    fn finish(&mut self, _: &History, look: &mut dyn Look) -> OracleResult {
        for client in 0..look.clients() {
            for scope in look.scopes_of(client) {
                let held: BTreeMap<DocumentKey, DocumentState> = look
                    .server_rows(&scope)
                    .into_iter()
                    .filter(|(_, row)| !row.state.is_deleted())
                    .map(|(key, row)| (key, row.state))
                    .collect();
                let shown: BTreeMap<DocumentKey, DocumentState> = look
                    .records(client, &scope)
                    .into_iter()
                    .filter_map(|(key, record)| Some((key, record.live()?.clone())))
                    .collect();
                for key in held.keys().chain(shown.keys()) {
                    let (server, own) = (held.get(key), shown.get(key));
                    if server != own {
                        return Err(format!(
                            "{key} differs: client {client} shows {own:?}, the server holds {server:?}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
