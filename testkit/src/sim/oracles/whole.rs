//! A local transaction is pushed whole, and a chunk never ends within one append: a reader at the
//! head never reads half of one.

use std::collections::BTreeSet;

use sync_core::model::{DocumentKey, PushId, ReplicaId, Revision, Scope};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::history::key_of;

#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The batches that were formed: a retry is the same batch, whatever could be pushed by then.
    formed: BTreeSet<(Scope, ReplicaId, PushId)>,
}

impl Oracle for Whole {
    fn name(&self) -> &'static str {
        "whole transactions"
    }

    fn see(&mut self, fact: &Fact, history: &History, look: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Formed { client, batch } => {
                if !self.formed.insert((batch.scope.clone(), batch.replica, batch.id)) {
                    return Ok(());
                }
                let has = |key: &DocumentKey, revision: &Revision| {
                    let of = |c: &&sync_core::model::Change| {
                        c.state.revision == *revision && key_of(&batch.scope, c) == *key
                    };
                    batch.changes.iter().any(|c| of(&c))
                };
                let pushed =
                    batch.changes.iter().map(|c| (key_of(&batch.scope, c), &c.state.revision));
                let units = history.units(*client).map(|units| units.of(pushed));
                for unit in units.into_iter().flatten() {
                    for (key, revision) in unit.iter().filter(|(k, r)| !has(k, r)) {
                        let record = look.record(*client, key).unwrap_or_default();
                        let newest = record.current.as_ref().map(|c| c.revision) == Some(*revision);
                        // A settled state that is offered again is a separate unit.
                        let base = record.edit().and_then(|e| e.base.as_ref());
                        let offered = base.is_some_and(|b| b.state.revision == *revision);
                        if newest
                            && !offered
                            && record.pushable().is_some()
                            && key.scope == batch.scope
                            && history.syncs(*client, &key.scope, &key.collection)
                        {
                            return Err(format!(
                                "{key} of the transaction {unit:?} was left behind"
                            ));
                        }
                    }
                }
                Ok(())
            }
            Fact::Received { chunk, .. } => {
                let Some(scope) = look.server_scope(&chunk.scope) else { return Ok(()) };
                if scope.epoch != chunk.epoch
                    || chunk.next >= scope.head
                    || history.in_doubt.contains(&chunk.scope)
                {
                    return Ok(());
                }
                let cut = look.server_rows(&chunk.scope).into_iter().find(|(_, row)| {
                    row.first <= chunk.next && chunk.next < row.seq && row.first > chunk.after
                });
                match cut {
                    Some((key, row)) => Err(format!(
                        "a chunk ends at {}, within {}..={} of {key}",
                        chunk.next, row.first, row.seq
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
