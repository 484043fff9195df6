//! Links with a bounded number of bytes in a second.

use std::collections::VecDeque;

use sync_core::engine::Input;
use sync_core::model::{DocumentState, Verdict, Verdicts};

use super::disk::Disks;
use super::link_conditions::{Fate, Way};
use super::plan::What;
use super::run::Run;
use super::wire::{Down, Up};
use crate::random::SplitMix64;

/// The bytes that a frame adds to its payload.
const FRAME: u64 = 24;

/// Draws one occurrence.
pub(super) fn happen(rng: &mut SplitMix64, client: usize, millis: u64) -> What {
    let rate = [40, 100, 400, 2_000][rng.below(4)] + rng.next_u64() % 40;
    What::Rate { client, millis, rate }
}

/// A message in transit: when it begins and ends, and its bytes.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    start: u64,
    end: u64,
    bytes: u64,
}

/// One direction of a client's link.
#[derive(Clone, Debug, Default)]
struct Lane {
    transfers: VecDeque<Transfer>,
    done: u64,
    told: u64,
}

impl Lane {
    /// Puts a message behind those in transit; returns how long it takes until its last byte has
    /// arrived.
    fn carry(&mut self, now: u64, bytes: u64, rate: u64) -> u64 {
        let start = self.transfers.back().map_or(now, |t| t.end.max(now));
        let end = start + bytes * 1_000 / rate.max(1);
        self.transfers.push_back(Transfer { start, end, bytes });
        end - now
    }

    /// Returns the bytes that arrived since the last call.
    fn moved(&mut self, now: u64) -> u64 {
        while let Some(first) = self.transfers.front().filter(|t| t.end <= now) {
            self.done += first.bytes;
            self.transfers.pop_front();
        }
        let part = |t: &Transfer| t.bytes * now.saturating_sub(t.start) / (t.end - t.start).max(1);
        let through = self.done + self.transfers.front().map_or(0, part);
        through - std::mem::replace(&mut self.told, through)
    }

    fn is_busy(&self, now: u64) -> bool {
        self.transfers.back().is_some_and(|t| t.end > now)
    }
}

/// The rate of a client's link, and the messages in transit.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    until: u64,
    bytes: u64,
    lanes: [Lane; 2],
}

impl Rate {
    pub(super) fn set(&mut self, until: u64, bytes: u64) {
        (self.until, self.bytes) = (until, bytes);
    }

    /// Returns whether messages wait for each other.
    pub(super) fn is_slow(&self, now: u64) -> bool {
        self.until > now || self.is_busy(now)
    }

    /// Returns whether bytes are in transit.
    pub(super) fn is_busy(&self, now: u64) -> bool {
        self.lanes.iter().any(|lane| lane.is_busy(now))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Begins another connection: messages in transit are dropped.
    pub(super) fn begin_link(&mut self) {
        self.lanes = Default::default();
    }
}

/// Returns the bytes of a message that take time; none for messages that fit between the pieces of
/// others.
pub(super) fn size_up(message: &Up) -> u64 {
    match message {
        Up::Push(batch) => batch.weight() as u64 + FRAME,
        _ => 0,
    }
}

pub(super) fn size_down(message: &Down) -> u64 {
    match message {
        Down::Chunk(chunk) => chunk.weight() as u64 + FRAME,
        Down::Verdicts(Verdicts::Decided { verdicts, .. }) => {
            let of = |v: &Verdict| {
                let state = v.current.as_ref().and_then(|c| c.state.as_ref());
                state.map_or(0, DocumentState::weight)
            };
            let states = verdicts.iter().map(of).sum::<usize>();
            (states + 16 * verdicts.len()) as u64 + FRAME
        }
        _ => 0,
    }
}

impl<D: Disks> Run<D> {
    /// Returns the fate of a message on a slow link: it arrives when its last byte has arrived.
    pub(super) fn throttle(&mut self, client: usize, way: Way, bytes: u64, fate: Fate) -> Fate {
        let (now, rate) = (self.now, &mut self.clients[client].rate);
        let Fate::Arrives { after, again } = fate else { return fate };
        if rate.until <= now || bytes == 0 {
            return fate;
        }
        let wait = rate.lanes[way as usize].carry(now, bytes, rate.bytes);
        Fate::Arrives { after: after + wait, again }
    }

    /// Reports the moved bytes of a link to the engine before a request counts as overdue, as the
    /// driver does.
    pub(super) fn note_transfer(&mut self, client: usize) {
        let (now, rate) = (self.now, &mut self.clients[client].rate);
        let [up, down] = &mut rate.lanes;
        let (up, down) = (up.moved(now), down.moved(now));
        if up + down > 0 {
            self.input(client, Input::Transferred { up, down });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_wait_for_those_before_them_and_move_byte_by_byte() {
        let mut lane = Lane::default();
        assert_eq!(lane.carry(1_000, 100, 50), 2_000);
        assert_eq!(lane.carry(1_500, 100, 50), 3_500);
        assert_eq!(lane.moved(2_000), 50);
        assert_eq!(lane.moved(4_000), 100);
        assert!(lane.is_busy(4_999) && !lane.is_busy(5_000));
        assert_eq!(lane.moved(9_000), 50);
        assert_eq!(lane.carry(9_000, 10, 10), 1_000);
    }
}
