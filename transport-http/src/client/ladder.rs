//! Selects how changes are received. A pure state machine: its inputs are events with their times,
//! its output is the next step.
//!
//! ```text
//!   stream ── collected on the way, no stream at all, died young several times ──► long poll
//!     ▲                                                                              │  ▲
//!     └────────────── from time to time, each time that fails later ─────────────────┘  │
//!                                                                                       │
//!   long poll ── cut again and again although the wait grew shorter, wait ignored ──► poll
//! ```

use std::time::Duration;

use sync_core::clock::Now;

use crate::config::{Fallback, LiveBy};

/// The longest pause after a first failure. It doubles with each that follows, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(16);
/// After this many immediate answers to long polls without changes, in a row, the server counts as
/// one that does not wait.
const HASTY: u32 = 3;
/// After this many long polls that lasted their full wait, a shortened wait is lengthened again.
const KEPT: u32 = 20;

/// A way of receiving changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rung {
    Stream,
    LongPoll,
    Poll,
}

impl From<Rung> for LiveBy {
    fn from(rung: Rung) -> Self {
        match rung {
            Rung::Stream => Self::Sse,
            Rung::LongPoll => Self::LongPoll,
            Rung::Poll => Self::Poll,
        }
    }
}

/// A request to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A stream.
    Stream,
    /// One chunk; the server may wait this long for a change.
    Chunk { wait: Duration },
}

/// The next step, after a random delay within these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) least: Duration,
    pub(super) most: Duration,
    pub(super) ask: Ask,
}

/// Bounds and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) live: LiveBy,
    pub(super) interval: Duration,
    pub(super) wait: Duration,
    pub(super) fallback: Fallback,
}

/// The state machine of one live stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ladder {
    rules: Rules,
    rung: Rung,
    /// Failures in a row.
    strikes: u32,
    /// Immediate answers to long polls without changes, since the last one that waited.
    hasty: u32,
    /// How long a long poll may wait on this network.
    wait: Duration,
    /// Long polls in a row that lasted that long.
    kept: u32,
    /// Whether the next request does not wait: it returns existing changes, and shows whether the
    /// server is reachable.
    probing: bool,
    /// Whether a higher way is being tried.
    trying: bool,
    /// How often in a row a stream, and a long poll, failed.
    failed: [u32; 2],
    climb_at: Option<Now>,
    pause: (Duration, Duration),
    is_stuck: bool,
}

impl Ladder {
    pub(super) fn new(rules: Rules) -> Self {
        let rung = match rules.live {
            LiveBy::Auto | LiveBy::Sse => Rung::Stream,
            LiveBy::LongPoll => Rung::LongPoll,
            LiveBy::Poll => Rung::Poll,
        };
        Self {
            rung,
            strikes: 0,
            hasty: 0,
            wait: rules.wait,
            kept: 0,
            probing: false,
            trying: false,
            failed: [0; 2],
            climb_at: None,
            pause: (Duration::ZERO, Duration::ZERO),
            is_stuck: false,
            rules,
        }
    }

    /// Creates the machine of another stream to the same server: it keeps which ways work, and
    /// starts without failures.
    pub(super) fn for_another(&self) -> Self {
        let Self { rung, wait, failed, climb_at, .. } = *self;
        Self { rung, wait, failed, climb_at, ..Self::new(self.rules.clone()) }
    }

    pub(super) fn rung(&self) -> Rung {
        self.rung
    }

    /// Returns whether the only configured way does not work.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Returns the next step.
    pub(super) fn step(&mut self, now: Now) -> Step {
        if self.climb_at.is_some_and(|at| at <= now) {
            self.climb(now);
        }
        let (least, most) = std::mem::take(&mut self.pause);
        let ask = match self.rung {
            Rung::Stream => Ask::Stream,
            Rung::LongPoll if !std::mem::take(&mut self.probing) => Ask::Chunk { wait: self.wait },
            Rung::LongPoll | Rung::Poll => Ask::Chunk { wait: Duration::ZERO },
        };
        Step { least, most, ask }
    }

    /// Records that the stream is alive, and has been for that long.
    pub(super) fn stream_lives(&mut self, lived: Duration) {
        if lived >= self.rules.fallback.stream_life {
            self.works();
        }
    }

    /// Handles a stream that ended without a reason.
    pub(super) fn stream_ended(&mut self, now: Now, lived: Duration) {
        self.stream_lives(lived);
        if lived >= self.rules.fallback.stream_life {
            self.pause = (Duration::ZERO, FIRST);
        } else {
            self.strike(now, Duration::ZERO);
        }
    }

    /// Handles a stream that was silent for too long, however long it had lasted.
    pub(super) fn stream_silent(&mut self, now: Now) {
        self.strike(now, Duration::ZERO);
    }

    /// Handles an answer that is no stream, or whose first bytes are late: an intermediary buffers
    /// it.
    pub(super) fn stream_unsuited(&mut self, now: Now) {
        self.fall(now);
    }

    /// Handles a gateway's refusal with the shortest delay before the next request.
    pub(super) fn asked_to_come_back(&mut self, now: Now, after: Duration) {
        self.strike(now, after);
    }

    /// Handles the answer to a request for a chunk, which arrived after `waited`.
    pub(super) fn answered(&mut self, now: Now, wait: Duration, waited: Duration, news: News) {
        match self.rung {
            Rung::Poll if news == News::More => {}
            Rung::Poll => {
                let fifth = self.rules.interval / 5;
                self.pause = (self.rules.interval - fifth, self.rules.interval + fifth);
            }
            Rung::LongPoll if wait.is_zero() => {}
            Rung::LongPoll if waited >= wait / 2 => {
                self.works();
                self.kept += 1;
                if self.kept >= KEPT {
                    self.kept = 0;
                    self.wait = (self.wait * 2).min(self.rules.wait);
                }
            }
            Rung::LongPoll if news == News::Nothing => {
                self.hasty += 1;
                self.pause = (FIRST * 2, FIRST * 4);
                if self.hasty >= HASTY {
                    self.fall(now);
                }
            }
            // Changes may arrive at any time.
            Rung::LongPoll => self.strikes = 0,
            Rung::Stream => {}
        }
    }

    /// Handles a long poll that was cut before its wait was over.
    pub(super) fn cut(&mut self, now: Now) {
        self.strikes += 1;
        self.pause = (Duration::ZERO, self.backoff());
        self.probing = true;
        self.kept = 0;
        if self.wait / 2 >= self.rules.fallback.shortest_wait {
            self.wait /= 2;
        } else if self.strikes >= self.rules.fallback.failures.max(1) {
            self.fall(now);
        }
    }

    fn works(&mut self) {
        (self.strikes, self.hasty, self.trying) = (0, 0, false);
        if let Some(failed) = self.failed.get_mut(self.rung as usize) {
            *failed = 0;
        }
    }

    fn strike(&mut self, now: Now, after: Duration) {
        self.strikes += 1;
        let backoff = self.backoff();
        self.pause = (after, after.saturating_add(backoff));
        if self.trying || self.strikes >= self.rules.fallback.failures.max(1) {
            self.fall(now);
            // Another way may work at once, unless the server requested a delay.
            if !after.is_zero() {
                self.pause = (after, after.saturating_add(backoff));
            }
        }
    }

    fn backoff(&self) -> Duration {
        FIRST.saturating_mul(2u32.saturating_pow(self.strikes.saturating_sub(1))).min(LONGEST)
    }

    fn fall(&mut self, now: Now) {
        if self.rules.live != LiveBy::Auto {
            self.is_stuck = true;
            return;
        }
        if let Some(failed) = self.failed.get_mut(self.rung as usize) {
            *failed += 1;
        }
        self.climb_at = Some(now.plus(self.until_a_try_of(self.rung)));
        self.rung = if self.rung == Rung::Stream { Rung::LongPoll } else { Rung::Poll };
        self.begin_rung(false);
        self.probing = true;
    }

    fn climb(&mut self, now: Now) {
        let is_low = self.rung == Rung::Poll;
        self.rung = if is_low { Rung::LongPoll } else { Rung::Stream };
        self.climb_at = is_low.then(|| now.plus(self.until_a_try_of(Rung::Stream)));
        self.begin_rung(true);
    }

    fn begin_rung(&mut self, trying: bool) {
        (self.strikes, self.hasty, self.trying, self.probing) = (0, 0, trying, false);
        (self.wait, self.kept) = (self.rules.wait, 0);
        self.pause = (Duration::ZERO, Duration::ZERO);
    }

    fn until_a_try_of(&self, rung: Rung) -> Duration {
        let failed = self.failed.get(rung as usize).copied().unwrap_or_default();
        let times = 2u32.pow(failed.saturating_sub(1).min(6));
        self.rules.fallback.climb_after.saturating_mul(times)
    }
}

/// The result of a request for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// All changes up to the head.
    Some,
    /// Changes that do not reach the head.
    More,
}

#[cfg(test)]
mod tests;
