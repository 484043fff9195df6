//! What a client keeps, and how often it tries, is bounded whatever happens (guarantee 9, and retries without storms).

use std::collections::{BTreeMap, VecDeque};

use sync_core::model::{DocumentKey, Revision, VerdictKind, Verdicts};

use super::{Fact, History, Look, Oracle, Verdict};
use crate::sim::history::key_of;

/// Chunks that wait (two ahead, one applied, one that came) and verdicts, for each scope.
const PAYLOADS: usize = 6;
/// A pull, a push, an acknowledgement and a live stream, for each scope.
const REQUESTS: usize = 5;
/// Attempts to connect within [`SPAN`] of which nothing came. Delays begin at up to 250 ms and double, so that half a minute
/// of bad luck with the jitter, and some links that broke after they had worked, stay below.
const ATTEMPTS: usize = 90;
/// All of them: who gets a chunk further each time begins with the shortest delay again.
const ALL_ATTEMPTS: usize = 300;
const SPAN: u64 = 30_000;
/// Refusals of one state.
const REFUSED: usize = 40;

#[derive(Debug, Default)]
pub(super) struct Bounded {
    /// When each client tried, and whether that brought it further.
    attempts: BTreeMap<usize, VecDeque<(u64, bool)>>,
    /// How often the server refused a state.
    refused: BTreeMap<(DocumentKey, Revision), usize>,
}

impl Oracle for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn see(&mut self, fact: &Fact, _: &History, look: &mut dyn Look) -> Verdict {
        match fact {
            Fact::Counted { client, payloads, requests, outbox, documents } => {
                let scopes = look.scopes_of(*client).len();
                if *payloads > PAYLOADS * scopes || *requests > REQUESTS * scopes {
                    return Err(format!(
                        "client {client} keeps {payloads} payloads, {requests} requests"
                    ));
                }
                if outbox > documents {
                    return Err(format!("an outbox of {outbox} for {documents} documents"));
                }
                Ok(())
            }
            Fact::Applied { client, before, after, .. } if before.position < after.position => {
                if let Some(last) = self.attempts.entry(*client).or_default().back_mut() {
                    last.1 = true;
                }
                Ok(())
            }
            Fact::Connects { client, at } => {
                let attempts = self.attempts.entry(*client).or_default();
                attempts.push_back((*at, false));
                while attempts.front().is_some_and(|(first, _)| first + SPAN < *at) {
                    attempts.pop_front();
                }
                let vain = attempts.iter().filter(|(_, worked)| !worked).count();
                if vain > ATTEMPTS || attempts.len() > ALL_ATTEMPTS {
                    let count = attempts.len();
                    return Err(format!("client {client} tried {count} times within {SPAN} ms"));
                }
                Ok(())
            }
            // Told again to a retry, and once more to a device that lost its power; but not for ever.
            Fact::Appended { batch, verdicts: Verdicts::Decided { verdicts, .. }, .. } => {
                for (change, verdict) in batch.changes.iter().zip(verdicts) {
                    if !matches!(verdict.kind, VerdictKind::Rejected(_)) {
                        continue;
                    }
                    let name = (key_of(&batch.scope, change), change.state.revision);
                    let count = self.refused.entry(name).or_default();
                    *count += 1;
                    if *count > REFUSED {
                        return Err(format!(
                            "what was refused is pushed again and again: {change:?}"
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
