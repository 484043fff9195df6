//! A client receives only collections that it may read and requests, shows others only by its own
//! writes, and pushes nothing of a collection that it does not sync.

use sync_core::model::Collection;

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::fact::Cause;

#[derive(Debug)]
pub(super) struct Collections;

impl Oracle for Collections {
    fn name(&self) -> &'static str {
        "collections"
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Served { client, visible, told, chunk } => {
                let unseen =
                    told.iter().find(|c| visible.as_ref().is_some_and(|v| !v.contains(*c)));
                if let Some(collection) = unseen {
                    return Err(format!(
                        "client {client} is told of `{collection}`, which it may not see"
                    ));
                }
                match chunk {
                    Some(chunk) if chunk.covers != *visible => Err(format!(
                        "a chunk for client {client} says that it covers {:?}, and covers {visible:?}",
                        chunk.covers
                    )),
                    _ => Ok(()),
                }
            }
            Fact::Received { client, chunk, .. } => {
                let syncs = |c: &Collection| history.syncs(*client, &chunk.scope, c);
                match chunk.entries.iter().find(|e| !syncs(&e.collection)) {
                    Some(entry) => Err(format!("client {client} did not ask for {entry:?}")),
                    None => Ok(()),
                }
            }
            Fact::Formed { client, batch } => {
                let syncs = |c: &Collection| history.syncs(*client, &batch.scope, c);
                match batch.changes.iter().find(|c| !syncs(&c.collection)) {
                    Some(change) => Err(format!("client {client} does not sync {change:?}")),
                    None => Ok(()),
                }
            }
            Fact::Changed { client, key, after: Some(_), cause: Cause::Pulled, .. }
                if !history.syncs(*client, &key.scope, &key.collection) =>
            {
                Err(format!("client {client} takes in {key}, which it does not sync"))
            }
            _ => Ok(()),
        }
    }
}
