//! Checkpoints only move forward within an epoch, together with what they cover (guarantee 6); a
//! chunk is applied only at the position where it begins.

use sync_core::model::{Checkpoint, Seq};

use super::{Fact, History, Look, Oracle, OracleResult};

#[derive(Debug)]
pub(super) struct Checkpoints;

impl Oracle for Checkpoints {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn see(&mut self, fact: &Fact, history: &History, look: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Applied { client, scope, span, moved, before, after } => {
                if *moved && before.after() != span.0 {
                    return Err(format!(
                        "client {client} stood at {} and took in a chunk of {scope} from {}",
                        before.after(),
                        span.0
                    ));
                }
                // A missing body is recorded with the checkpoint, and does not move it.
                let stays = Checkpoint { lacks_own: before.lacks_own, ..after.clone() };
                if !*moved && *before != stays {
                    return Err(format!("client {client} refused a chunk and moved to {after:?}"));
                }
                if before.epoch.is_some() && before.epoch != after.epoch {
                    return Err(format!("client {client} changed its epoch without a reset"));
                }
                // A collection that becomes visible is pulled from the beginning.
                let fills_in = after.sees_more_than(before);
                let is_behind = after.position < before.position || after.after() < before.after();
                if is_behind && !fills_in {
                    return Err(format!("client {client} went back from {before:?} to {after:?}"));
                }
                if *moved && after.position > span.1.max(before.position) {
                    return Err(format!(
                        "client {client} is ahead of its data: {after:?} after {span:?}"
                    ));
                }
                Ok(())
            }
            // A client at its position has applied, or keeps for later, everything at or below it.
            Fact::Rested { client, scope } => {
                let Some(held) = look.server_scope(scope) else { return Ok(()) };
                let stands = look.checkpoint(*client, scope);
                if stands.epoch != Some(held.epoch) || stands.full_pull.is_some() {
                    return Ok(());
                }
                for (key, row) in look.server_rows(scope) {
                    let record = look.record(*client, &key).unwrap_or_default();
                    let pending = record.pending.as_deref();
                    let pending_remote =
                        pending.and_then(|p| p.pending_remote.as_ref()).map_or(Seq(0), |s| s.seq);
                    let base =
                        record.edit().and_then(|e| e.base.as_ref()).map_or(Seq(0), |b| b.seq);
                    let known = record.settled_at().max(pending_remote).max(base);
                    // A full pull may have found the document absent, before a restore brought its
                    // tombstone back: a push meets it.
                    let is_absent = (record.current.is_none() || record.edit().is_some())
                        && history.story(&key).was_purged(&row.state);
                    let is_known = is_absent || history.story(&key).cloned;
                    if row.seq <= stands.after() && known < row.seq && !is_known {
                        return Err(format!(
                            "client {client} stands at {} and has not taken in {key} at {}: {record:#?}",
                            stands.after(),
                            row.seq
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
