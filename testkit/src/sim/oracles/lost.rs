//! No acknowledged write is lost: it is part of what the server holds, or ended in a way that was
//! reported (guarantee 1).

use std::collections::BTreeMap;

use sync_core::model::{DocumentKey, DocumentState};

use super::{History, Look, Oracle, OracleResult};

#[derive(Debug)]
pub(super) struct Lost;

impl Oracle for Lost {
    fn name(&self) -> &'static str {
        "lost write"
    }

    fn finish(&mut self, history: &History, look: &mut dyn Look) -> OracleResult {
        let mut held: BTreeMap<DocumentKey, DocumentState> = BTreeMap::new();
        for scope in (0..look.clients()).flat_map(|c| look.scopes_of(c)).collect::<Vec<_>>() {
            held.extend(look.server_rows(&scope).into_iter().map(|(k, row)| (k, row.state)));
        }
        for (key, story) in history.stories() {
            let has = story.of(held.get(key));
            for (n, write) in story.writes.iter().enumerate() {
                if !has.contains(n) && !story.ended.contains(n) && !story.is_erased(n, &has) {
                    return Err(format!(
                        "write {n} of {key} ({write:?}) is lost; the server holds {:?}",
                        held.get(key)
                    ));
                }
            }
        }
        Ok(())
    }
}
