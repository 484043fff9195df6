//! What a client keeps, and how often it tries, is bounded whatever happens (guarantee 9, and retries without storms).

use std::collections::{BTreeMap, VecDeque};

use super::{Fact, History, Look, Oracle, Verdict};

/// Chunks that wait (two ahead, one applied, one that came) and verdicts, for each scope.
const PAYLOADS: usize = 6;
/// A pull, a push, an acknowledgement and a live stream, for each scope.
const REQUESTS: usize = 5;
/// Attempts to connect within [`SPAN`]. Delays begin at up to 250 ms and double, so that half a minute of bad luck with
/// the jitter, and some links that broke after they had worked, stay below.
const ATTEMPTS: usize = 90;
const SPAN: u64 = 30_000;

#[derive(Debug, Default)]
pub(super) struct Bounded {
    attempts: BTreeMap<usize, VecDeque<u64>>,
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
            Fact::Connects { client, at } => {
                let attempts = self.attempts.entry(*client).or_default();
                attempts.push_back(*at);
                while attempts.front().is_some_and(|first| first + SPAN < *at) {
                    attempts.pop_front();
                }
                if attempts.len() > ATTEMPTS {
                    let count = attempts.len();
                    return Err(format!("client {client} tried {count} times within {SPAN} ms"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
