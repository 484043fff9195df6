//! A client that breaks the protocol: well-formed messages with made-up contents, in no order.
//!
//! It writes one separate document. Its claims about the log must change nothing for any other
//! client.

use std::collections::BTreeSet;

use sync_core::engine::Ticket;
use sync_core::model::{
    BaseRef, Change, Cursor, Digest, DocumentId, DocumentState, Epoch, LogKey, LogMark, LogRun,
    PushBatch, PushId, ReplicaId, Revision, Scope, Seq, ServerStart, Stamp, VerdictKind, Verdicts,
};
use sync_server::ops::Acknowledgement;

use super::collections::NAMES;
use super::disk::Disks;
use super::link_conditions::LinkKind;
use super::oracles::STRANGER as STRANGER_ORACLE;
use super::plan::What;
use super::queue::Event;
use super::run::{Run, collection};
use super::trace::Mark;
use super::wire::{Down, Link, Up};
use crate::cores::must;
use crate::random::SplitMix64;
use crate::world::body;

/// Used in place of the number of a client.
pub(super) const STRANGER: usize = usize::MAX;

/// Longer than any bound on clocks.
const HOURS: u64 = 26 * 3_600_000;

/// Draws one occurrence.
pub(super) fn happen(rng: &mut SplitMix64) -> What {
    let messages = 3 + rng.below(25) as u8;
    What::Stranger { messages, requests: rng.percent(40), salt: rng.next_u64() }
}

/// The stranger's state: what it received, and the answers that it waits for.
#[derive(Debug, Default)]
pub(super) struct Stranger {
    marks: Vec<LogMark>,
    epochs: Vec<Epoch>,
    head: u64,
    /// The newest batch.
    pushed: Option<PushBatch>,
    /// Its document, as the server accepted it.
    accepted: Option<BaseRef>,
    pushes: u64,
    /// Requests without an answer, on links that have not ended.
    waits: BTreeSet<(u64, u32)>,
}

impl Stranger {
    fn epoch(&self, rng: &mut SplitMix64) -> Epoch {
        match rng.below(4) {
            0 => Epoch([rng.below(256) as u8; 16]),
            _ => self.epochs.get(rng.below(self.epochs.len())).copied().unwrap_or(Epoch([1; 16])),
        }
    }

    /// Returns a position that may be real, beyond the head, or the largest that can be encoded.
    fn position(&self, rng: &mut SplitMix64) -> Seq {
        Seq(match rng.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => self.head + 1 + rng.next_u64() % 1_000,
            _ => rng.next_u64() % (self.head + 1),
        })
    }

    /// Returns a mark of the server, an altered one, or one that is signed with another key.
    fn mark(&self, rng: &mut SplitMix64) -> Option<LogMark> {
        let real = self.marks.get(rng.below(self.marks.len())).cloned();
        match rng.below(4) {
            0 => None,
            1 => real,
            2 => real.map(|mark| LogMark { at: Seq(mark.at.0 + 1 + rng.next_u64() % 50), ..mark }),
            _ => {
                let last = Seq(1 + rng.next_u64() % (self.head + 50));
                let run = LogRun { start: ServerStart(rng.next_u64()), first: Seq(1), last };
                Some(LogMark::sign(self.epoch(rng), vec![run], &LogKey([8; 16])))
            }
        }
    }

    fn cursor(&self, rng: &mut SplitMix64) -> Cursor {
        let (after, other) = (self.position(rng), self.position(rng));
        let backfills = match rng.percent(20) {
            true => NAMES.iter().map(|name| (collection(name), self.position(rng))).collect(),
            false => Default::default(),
        };
        Cursor {
            epoch: (!rng.percent(20)).then(|| self.epoch(rng)),
            after,
            position: if rng.percent(70) { after } else { other },
            backfills,
            floor: rng.percent(20).then(|| self.position(rng)),
            mark: self.mark(rng),
            collections: rng.percent(20).then(|| [collection("nowhere")].into()),
            ..Cursor::default()
        }
    }
}

fn is_request(message: &Up) -> bool {
    matches!(message, Up::Hello { .. } | Up::Pull { .. } | Up::Push(_) | Up::Ack { .. })
}

impl<D: Disks> Run<D> {
    pub(super) fn let_in_stranger(&mut self, messages: u8, requests: bool, salt: u64) {
        self.last_link += 1;
        let kind = if requests { LinkKind::Requests } else { LinkKind::Stream };
        let link = self.last_link;
        let ticket = Ticket(0);
        let info = Link { client: STRANGER, kind, ticket, is_open: true, arrives: [0; 2] };
        self.links.insert(link, info);
        let mut at = self.now;
        for n in 0..u32::from(messages) {
            let salt = SplitMix64::of(salt, u64::from(n)).next_u64();
            self.queue.push(at, Event::Stranger { link, n, salt });
            at += 1 + salt % 400;
        }
        self.queue.push(at + 1_000, Event::ServerLoses { link });
    }

    /// Sends a message.
    pub(super) fn stranger_speaks(&mut self, link: u64, n: u32, salt: u64) {
        if self.links.get(&link).is_none_or(|l| !l.is_open) {
            return;
        }
        let mut rng = SplitMix64::new(salt);
        let replica = stranger_id(rng.below(8) / 7);
        let scope = match rng.percent(5) {
            true => must(Scope::new("nowhere"), "a scope's name"),
            false => self.scopes[STRANGER % self.scopes.len()].clone(),
        };
        let message = self.make_up(&mut rng, n, replica, scope);
        let stream = match message {
            Up::Hello { .. } | Up::Ping(_) | Up::Pong => 0,
            _ if rng.percent(10) => n / 2,
            _ => n + 1,
        };
        if is_request(&message) {
            self.stranger.waits.insert((link, stream));
        }
        self.mark(0, Mark::Fault, || format!("a stranger says {}", message.tell()));
        self.server_hears(link, stream, message);
    }

    fn make_up(&mut self, rng: &mut SplitMix64, n: u32, replica: ReplicaId, scope: Scope) -> Up {
        if n == 0 && !rng.percent(20) {
            let scopes = vec![(scope, self.stranger.cursor(rng))];
            return Up::Hello { replica, scopes };
        }
        match rng.below(12) {
            0 => Up::Hello { replica, scopes: vec![(scope, self.stranger.cursor(rng))] },
            1 | 2 => Up::Pull { scope, cursor: self.stranger.cursor(rng) },
            3 => Up::Live { scope, cursor: self.stranger.cursor(rng) },
            4 => {
                let digest = rng.percent(50).then(|| {
                    let mut digest = Digest::default();
                    let name = must(DocumentId::new("nothing"), "an id");
                    digest.add(&collection("notes"), &name, &revision(replica, rng.next_u64(), 0));
                    digest
                });
                let (epoch, seq) = (self.stranger.epoch(rng), self.stranger.position(rng));
                let mark = self.stranger.mark(rng);
                Up::Ack {
                    scope,
                    ack: Acknowledgement { epoch, seq, digest, mark, noted: Default::default() },
                }
            }
            5 => [Up::Credit(u32::MAX), Up::EndLive, Up::Ping(rng.next_u64()), Up::Pong]
                .into_iter()
                .nth(rng.below(4))
                .unwrap_or(Up::Pong),
            _ => Up::Push(self.made_up_batch(rng, replica, scope)),
        }
    }

    /// Makes a batch for its own document, mostly with an error.
    fn made_up_batch(
        &mut self,
        rng: &mut SplitMix64,
        replica: ReplicaId,
        scope: Scope,
    ) -> PushBatch {
        self.stranger.pushes += 1;
        let now = self.server_now().0;
        let number = self.stranger.pushes;
        let own = revision(replica, now, number);
        let ahead = revision(replica, now + HOURS, number);
        let mut state = DocumentState::new(own, Some(body(&format!("stranger.{number}"))));
        let mut base = self.stranger.accepted;
        let mut id = PushId(number);
        match rng.below(10) {
            0 => state.revision = ahead,
            1 => state.author = ahead,
            2 => (state.revision, state.author) = (ahead, ahead),
            3 => state.created = ahead.stamp,
            4 => {
                base = Some(BaseRef {
                    revision: revision(replica, now / 2, number),
                    epoch: self.stranger.epoch(rng),
                    seq: self.stranger.position(rng),
                    tombstone: rng.percent(50),
                });
            }
            5 => base = None,
            // An id that was used before, for another batch, or for one of long ago.
            6 => id = PushId(number.saturating_sub(1 + rng.next_u64() % 3)),
            7 => {
                if let Some(batch) = self.stranger.pushed.clone() {
                    return batch;
                }
            }
            _ => {}
        }
        let name = must(DocumentId::new("stranger"), "an id");
        let change =
            Change { collection: collection("notes"), id: name, base, base_body: None, state };
        let mut batch = PushBatch {
            scope,
            replica,
            id,
            changes: vec![change],
            recall: None,
            mark: self.stranger.mark(rng),
        };
        if rng.percent(5) {
            batch = batch.recalled(u128::from(rng.next_u64()));
        }
        self.stranger.pushed = Some(batch.clone());
        batch
    }

    /// Receives an answer of the server.
    pub(super) fn stranger_hears(&mut self, link: u64, stream: u32, message: &Down) {
        self.mark(0, Mark::Fault, || format!("a stranger hears {}", message.tell()));
        let stranger = &mut self.stranger;
        if !matches!(message, Down::Ping | Down::Pong) {
            stranger.waits.remove(&(link, stream));
        }
        match message {
            Down::Welcome { scopes, .. } => {
                for greeting in scopes {
                    stranger.epochs.push(greeting.epoch);
                    stranger.head = greeting.head.0;
                }
            }
            Down::Chunk(chunk) => {
                stranger.epochs.push(chunk.epoch);
                stranger.marks.extend(chunk.mark.clone());
                stranger.head = chunk.head.0;
            }
            Down::Verdicts(Verdicts::Decided { epoch, mark, verdicts }) => {
                stranger.marks.extend(mark.clone());
                let accepted = verdicts.first().filter(|v| v.kind == VerdictKind::Accepted);
                let change = stranger.pushed.as_ref().and_then(|batch| batch.changes.first());
                if let Some((verdict, change)) = accepted.zip(change) {
                    stranger.accepted = Some(BaseRef::of(&change.state, *epoch, verdict.seq));
                }
            }
            _ => {}
        }
    }

    /// Records that its link has ended.
    pub(super) fn stranger_loses(&mut self, link: u64) {
        self.stranger.waits.retain(|(of, _)| *of != link);
        if let Some(info) = self.links.get_mut(&link) {
            info.is_open = false;
        }
    }

    /// Checks that every request was answered, or that its link has ended.
    pub(super) fn check_stranger(&mut self) {
        if let Some((link, stream)) = self.stranger.waits.first() {
            let what =
                format!("request {stream} on the link {link} of a stranger was never answered");
            self.violate(STRANGER_ORACLE, what);
        }
    }
}

pub(super) fn stranger_id(number: usize) -> ReplicaId {
    ReplicaId([0xbb + number as u8; 16])
}

/// Returns whether a batch is a stranger's.
pub(super) fn is_stranger(replica: ReplicaId) -> bool {
    (0..2).any(|number| replica == stranger_id(number))
}

fn revision(replica: ReplicaId, millis: u64, counter: u64) -> Revision {
    Revision { stamp: Stamp::new(millis, (counter % 1_000) as u16), replica }
}
