//! Which way of following live is taken: a pure machine. Facts go in with the time, the next step comes out.
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
/// So many answers at once to long polls, in a row and without news, mean that the server does not wait.
const HASTY: u32 = 3;
/// After so many long polls that were kept as long as they should, a wait that was shortened is made longer again.
const KEPT: u32 = 20;

/// A way of following live.
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

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A stream.
    Stream,
    /// A chunk, for which the server may wait that long.
    Chunk { wait: Duration },
}

/// What comes next: after a random time within these bounds, that.
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

/// The machine of one live stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ladder {
    rules: Rules,
    rung: Rung,
    /// Failures in a row.
    strikes: u32,
    /// Answers to long polls that came at once without news, since one took its time.
    hasty: u32,
    /// How long a long poll may be kept here.
    wait: Duration,
    /// Long polls in a row that were.
    kept: u32,
    /// The next request asks without waiting: it brings what is there, and shows whether the server is there at all.
    probing: bool,
    /// A higher way is being tried.
    trying: bool,
    /// How often in a row a stream, and a long poll, came to nothing.
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

    /// For another stream over the same way: it knows what works, and has seen nothing itself.
    pub(super) fn for_another(&self) -> Self {
        Self {
            strikes: 0,
            hasty: 0,
            kept: 0,
            probing: false,
            trying: false,
            pause: (Duration::ZERO, Duration::ZERO),
            is_stuck: false,
            ..self.clone()
        }
    }

    pub(super) fn rung(&self) -> Rung {
        self.rung
    }

    /// Whether the one way that is allowed does not work.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// What comes next.
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

    /// The stream is alive, and has been for that long.
    pub(super) fn stream_lives(&mut self, lived: Duration) {
        if lived >= self.rules.fallback.stream_life {
            self.works();
        }
    }

    /// The stream is over, and nobody said why.
    pub(super) fn stream_ended(&mut self, now: Now, lived: Duration) {
        self.stream_lives(lived);
        if lived >= self.rules.fallback.stream_life {
            self.pause = (Duration::ZERO, FIRST);
        } else {
            self.strike(now, Duration::ZERO);
        }
    }

    /// Nothing came for so long that the stream cannot be alive, however long it was before.
    pub(super) fn stream_silent(&mut self, now: Now) {
        self.strike(now, Duration::ZERO);
    }

    /// What came is no stream, or comes too late: something on the way collects it.
    pub(super) fn stream_unsuited(&mut self, now: Now) {
        self.fall(now);
    }

    /// A gateway asks to come back after that long at the earliest.
    pub(super) fn asked_to_come_back(&mut self, now: Now, after: Duration) {
        self.strike(now, after);
    }

    /// A request for a chunk was answered after `waited`.
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
            // News may come at any time.
            Rung::LongPoll => self.strikes = 0,
            Rung::Stream => {}
        }
    }

    /// A long poll was cut before its time was over.
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
            // Another way may work at once, unless the server asked for peace.
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

/// What an answer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// Everything up to the head.
    Some,
    /// Not all that there is.
    More,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn ladder(live: LiveBy) -> Ladder {
        let (interval, wait) = (secs(5), secs(25));
        Ladder::new(Rules { live, interval, wait, fallback: Fallback::default() })
    }

    const NOW: Step = Step {
        least: Duration::ZERO,
        most: Duration::ZERO,
        ask: Ask::Chunk { wait: Duration::ZERO },
    };

    fn ask(ladder: &mut Ladder, at: u64) -> Ask {
        ladder.step(Now(at)).ask
    }

    #[test]
    fn streams_that_die_young_are_given_up_after_some_and_with_growing_pauses() {
        let mut ladder = ladder(LiveBy::Auto);
        assert_eq!(ask(&mut ladder, 0), Ask::Stream);
        ladder.stream_ended(Now(10_000), secs(10));
        let again = ladder.step(Now(10_000));
        assert_eq!((again.ask, again.least, again.most), (Ask::Stream, secs(0), FIRST));
        ladder.stream_ended(Now(20_000), secs(10));
        assert_eq!(ladder.step(Now(20_000)).most, FIRST * 2);
        ladder.stream_ended(Now(30_000), secs(10));
        // First without waiting, so that nothing that is there has to wait.
        assert_eq!(ask(&mut ladder, 30_000), Ask::Chunk { wait: secs(0) });
        ladder.answered(Now(30_000), secs(0), secs(0), News::Nothing);
        assert_eq!(ladder.step(Now(30_000)), Step { ask: Ask::Chunk { wait: secs(25) }, ..NOW });
        assert_eq!(ladder.rung(), Rung::LongPoll);
    }

    #[test]
    fn one_stream_that_lives_makes_up_for_those_that_did_not() {
        let mut ladder = ladder(LiveBy::Auto);
        for _ in 0..20 {
            ladder.stream_ended(Now(0), secs(1));
            ladder.stream_ended(Now(0), secs(1));
            ladder.stream_lives(secs(5));
            ladder.stream_ended(Now(0), secs(31));
        }
        assert_eq!(ladder.rung(), Rung::Stream);
        assert_eq!(ladder.step(Now(0)).most, FIRST);
    }

    #[test]
    fn what_collects_streams_is_left_at_once() {
        let mut ladder = ladder(LiveBy::Auto);
        ladder.stream_unsuited(Now(0));
        assert_eq!(ladder.rung(), Rung::LongPoll);
        assert_eq!(ladder.step(Now(0)), NOW);
    }

    #[test]
    fn a_long_poll_that_is_cut_is_asked_for_shorter_and_then_not_at_all() {
        let mut ladder = ladder(LiveBy::Auto);
        ladder.stream_unsuited(Now(0));
        let mut waits = Vec::new();
        while ladder.rung() == Rung::LongPoll {
            if let Ask::Chunk { wait } = ask(&mut ladder, 0)
                && !wait.is_zero()
            {
                waits.push(wait.as_millis());
                ladder.cut(Now(0));
            }
        }
        assert_eq!(waits, [25_000, 12_500, 6_250, 3_125]);
        assert_eq!(ladder.step(Now(0)), NOW);
        ladder.answered(Now(0), secs(0), secs(0), News::More);
        assert_eq!(ladder.step(Now(0)), NOW);
        ladder.answered(Now(0), secs(0), secs(0), News::Some);
        assert_eq!(ladder.step(Now(0)), Step { least: secs(4), most: secs(6), ..NOW });
    }

    #[test]
    fn a_wait_that_is_short_enough_is_kept_and_now_and_then_a_longer_one_tried() {
        let mut ladder = ladder(LiveBy::LongPoll);
        for _ in 0..30 {
            let Ask::Chunk { wait } = ask(&mut ladder, 0) else { panic!("no request") };
            // A gateway that cuts after fifteen seconds.
            if wait > secs(15) {
                ladder.cut(Now(0));
                assert_eq!(ask(&mut ladder, 0), Ask::Chunk { wait: secs(0) });
            }
            for _ in 0..KEPT {
                let Ask::Chunk { wait } = ask(&mut ladder, 0) else { panic!("no request") };
                assert_eq!(wait, Duration::from_millis(12_500));
                ladder.answered(Now(0), wait, wait, News::Nothing);
            }
        }
        assert!(!ladder.is_stuck());
    }

    #[test]
    fn cuts_that_are_far_apart_do_not_add_up() {
        let mut ladder = ladder(LiveBy::Auto);
        ladder.stream_unsuited(Now(0));
        for _ in 0..50 {
            ladder.cut(Now(0));
            let _probe = ladder.step(Now(0));
            let Ask::Chunk { wait } = ask(&mut ladder, 0) else { panic!("no request") };
            ladder.answered(Now(0), wait, wait, News::Nothing);
        }
        assert_eq!(ladder.rung(), Rung::LongPoll);
    }

    #[test]
    fn a_server_that_does_not_wait_is_polled() {
        let mut ladder = ladder(LiveBy::Auto);
        ladder.stream_unsuited(Now(0));
        for _ in 0..HASTY {
            ladder.answered(Now(0), secs(25), Duration::from_millis(3), News::Some);
            assert_eq!(ladder.rung(), Rung::LongPoll, "news may come at once");
            ladder.answered(Now(0), secs(25), Duration::from_millis(3), News::Nothing);
            let pause = ladder.clone().step(Now(0)).least;
            assert!(ladder.rung() == Rung::Poll || pause >= FIRST, "it spins");
        }
        assert_eq!(ladder.rung(), Rung::Poll);
    }

    #[test]
    fn a_higher_way_is_tried_again_and_later_each_time() {
        let mut ladder = ladder(LiveBy::Auto);
        let (mut now, mut tries) = (0, Vec::new());
        ladder.stream_unsuited(Now(0));
        while tries.len() < 9 {
            now += MINUTE;
            if ask(&mut ladder, now) == Ask::Stream {
                tries.push(now / MINUTE);
                // Once is enough: nobody asked for a try.
                ladder.stream_ended(Now(now), secs(10));
            }
            assert_eq!(ladder.rung(), Rung::LongPoll);
        }
        let between: Vec<_> = tries.windows(2).map(|w| w[1] - w[0]).collect();
        assert_eq!(tries[0], 10);
        assert_eq!(between, [20, 40, 80, 160, 320, 640, 640, 640]);
        // A stream that lives ends that.
        now += 640 * MINUTE;
        assert_eq!(ask(&mut ladder, now), Ask::Stream);
        ladder.stream_lives(secs(30));
        ladder.stream_unsuited(Now(now));
        assert_eq!(ask(&mut ladder, now + 10 * MINUTE), Ask::Stream);
    }

    #[test]
    fn polling_climbs_step_by_step() {
        let mut ladder = ladder(LiveBy::Auto);
        ladder.stream_unsuited(Now(0));
        for _ in 0..4 {
            ladder.cut(Now(0));
        }
        assert_eq!(ladder.rung(), Rung::Poll);
        assert_eq!(ask(&mut ladder, 10 * MINUTE), Ask::Chunk { wait: secs(25) });
        ladder.answered(Now(11 * MINUTE), secs(25), secs(25), News::Nothing);
        assert_eq!(ask(&mut ladder, 20 * MINUTE), Ask::Stream);
    }

    #[test]
    fn a_server_that_asks_to_come_back_is_not_asked_earlier() {
        let mut ladder = ladder(LiveBy::Auto);
        for rung in [Rung::Stream, Rung::Stream, Rung::Stream, Rung::LongPoll, Rung::LongPoll] {
            assert_eq!(ladder.rung(), rung);
            ladder.asked_to_come_back(Now(0), secs(90));
            let step = ladder.step(Now(0));
            assert!(step.least == secs(90) && step.most > secs(90), "{step:?}");
        }
    }

    #[test]
    fn where_one_way_is_wanted_no_other_is_taken() {
        for live in [LiveBy::Sse, LiveBy::LongPoll] {
            let mut ladder = ladder(live);
            for _ in 0..4 {
                assert!(!ladder.is_stuck());
                if live == LiveBy::Sse {
                    ladder.stream_unsuited(Now(0))
                } else {
                    ladder.cut(Now(0))
                }
                ladder.step(Now(100 * MINUTE));
                assert_eq!(LiveBy::from(ladder.rung()), live);
                if ladder.is_stuck() {
                    break;
                }
            }
            assert!(ladder.is_stuck());
            assert!(!ladder.for_another().is_stuck());
        }
    }

    #[test]
    fn another_stream_begins_where_the_first_one_ended() {
        let mut ladder = ladder(LiveBy::Auto);
        ladder.stream_unsuited(Now(0));
        let mut another = ladder.for_another();
        assert_eq!(ask(&mut another, 0), Ask::Chunk { wait: secs(25) });
        assert_eq!(ask(&mut another, 10 * MINUTE), Ask::Stream);
    }
}
