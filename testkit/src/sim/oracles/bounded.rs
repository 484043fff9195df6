//! A client's memory and its number of attempts are bounded whatever happens (guarantee 9, and
//! retries without storms).

use std::collections::{BTreeMap, VecDeque};

use sync_core::model::{DocumentKey, Revision, Scope, VerdictKind, Verdicts};

use super::{Fact, History, Look, Oracle, OracleResult};
use crate::sim::history::key_of;

/// The largest number of waiting chunks (two ahead, one applied, one that arrived) and verdicts,
/// for each scope.
const PAYLOADS: usize = 6;
/// The largest number of requests: a pull, a push, an acknowledgement and a live stream, for each
/// scope.
const REQUESTS: usize = 5;
/// The largest number of attempts within [`SPAN`] after which no measure moved: the position for a
/// pull, settled edits for a push, either for a connection. Delays begin at up to 250 ms and
/// double, so that half a minute of unlucky jitter, and some links that broke after they had
/// worked, stay below.
const IN_VAIN: usize = 90;
/// The largest number of attempts to connect: a client that gets a chunk further each time begins
/// with the shortest delay again.
const ATTEMPTS: usize = 300;
const SPAN: u64 = 30_000;
/// The largest number of rejections of one state.
const REFUSED: usize = 12;

/// Attempts of one kind: the time of each, and whether a measure moved after it and before the
/// next.
#[derive(Debug, Default)]
struct Attempts(VecDeque<(u64, bool)>);

impl Attempts {
    fn moved(&mut self) {
        if let Some(last) = self.0.back_mut() {
            last.1 = true;
        }
    }

    /// Records another attempt; returns the number of those within the span in which nothing moved.
    fn another(&mut self, at: u64) -> usize {
        self.0.push_back((at, false));
        while self.0.front().is_some_and(|(first, _)| first + SPAN < at) {
            self.0.pop_front();
        }
        self.0.iter().filter(|(_, moved)| !moved).count()
    }
}

#[derive(Debug, Default)]
pub(super) struct Bounded {
    connects: BTreeMap<usize, Attempts>,
    pulls: BTreeMap<(usize, Scope), Attempts>,
    pushes: BTreeMap<(usize, Scope), Attempts>,
    /// How often the server rejected a state.
    refused: BTreeMap<(DocumentKey, Revision), usize>,
}

fn bounded(client: usize, what: &str, in_vain: usize) -> OracleResult {
    if in_vain > IN_VAIN {
        let times = format!("{in_vain} times within {SPAN} ms, and nothing moved");
        return Err(format!("client {client} {what} {times}"));
    }
    Ok(())
}

impl Oracle for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn see(&mut self, fact: &Fact, _: &History, look: &mut dyn Look) -> OracleResult {
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
            // A reset moves the position back; what moves then moves for the second time.
            Fact::Applied { client, scope, before, after, .. } if before != after => {
                self.connects.entry(*client).or_default().moved();
                self.pulls.entry((*client, scope.clone())).or_default().moved();
                Ok(())
            }
            Fact::Settled { client, scope, moved } if *moved > 0 => {
                self.connects.entry(*client).or_default().moved();
                self.pushes.entry((*client, scope.clone())).or_default().moved();
                Ok(())
            }
            Fact::Pulls { client, scope, at } => {
                let pulls = self.pulls.entry((*client, scope.clone())).or_default();
                bounded(*client, &format!("asked for {scope}"), pulls.another(*at))
            }
            Fact::Pushes { client, scope, at } => {
                let pushes = self.pushes.entry((*client, scope.clone())).or_default();
                bounded(*client, &format!("pushed {scope}"), pushes.another(*at))
            }
            Fact::Connects { client, at } => {
                let connects = self.connects.entry(*client).or_default();
                let in_vain = connects.another(*at);
                if connects.0.len() > ATTEMPTS {
                    let count = connects.0.len();
                    return Err(format!("client {client} connected {count} times in {SPAN} ms"));
                }
                bounded(*client, "connected", in_vain)
            }
            // A retry gets the rejection again, and also a device that lost its power; but not for
            // ever.
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
