//! A store that is opened again holds every acknowledged write (guarantee 1), and after a crash
//! without a power failure everything that was committed.

use sync_core::model::{DocumentKey, DocumentState, Seq};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::bits::Bits;

#[derive(Debug)]
pub(super) struct Durable;

impl Oracle for Durable {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn see(&mut self, fact: &Fact, history: &History, look: &mut dyn Look) -> OracleResult {
        let Fact::Reopened { client, power } = fact else { return Ok(()) };
        for (key, shown) in history.all_shown(*client) {
            let record = look.record(*client, key);
            if record.is_none() && is_spent(key, shown, history, look) {
                continue; // It left the replica as it left the server.
            }
            let record = record.unwrap_or_default();
            if !*power {
                if record.current.as_ref() != Some(shown) {
                    let current = record.current;
                    return Err(format!(
                        "client {client} showed {shown:?} of {key}, and after a crash {current:?}"
                    ));
                }
                continue;
            }
            let story = history.story(key);
            let mut own = Bits::default();
            let had = story.of(Some(shown));
            for (n, write) in story.writes.iter().enumerate() {
                // Writes that a device made before it lost everything come back from the server, as
                // on every other client.
                let is_own = (write.client, write.device) == (*client, history.device(*client));
                if is_own && had.contains(n) && !story.has_left(*client, n) {
                    own.insert(n);
                }
            }
            let has = story.of(record.current.as_ref());
            if let Some(n) = story.missing(&own, &has) {
                return Err(format!(
                    "client {client} lost its write {n} of {key} with the power: {record:#?}"
                ));
            }
        }
        Ok(())
    }
}

/// Returns whether a tombstone may have left the replica: the server purged it, or holds a later
/// state in its place and has moved the horizon since. A replica that may not read the collection
/// receives only the horizon.
fn is_spent(
    key: &DocumentKey,
    shown: &DocumentState,
    history: &History,
    look: &mut dyn Look,
) -> bool {
    let story = history.story(key);
    if !shown.is_deleted() || shown.erased.is_some() {
        return false;
    }
    let has_horizon = look.server_scope(&key.scope).is_some_and(|row| row.horizon > Seq(0));
    let held = look.server_rows(&key.scope).into_iter().find(|(k, _)| k == key);
    let is_held = held.is_some_and(|(_, row)| row.state.revision == shown.revision);
    story.was_purged(shown) || (has_horizon && !is_held && !story.is_news(shown))
}
